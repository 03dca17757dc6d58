"""From scores to a stored selection."""
