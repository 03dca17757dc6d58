"""Score sets: commits parts, and hashes what they hold."""
