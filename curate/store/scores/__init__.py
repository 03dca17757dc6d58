"""Score sets: taking parts in, and what proves that they hold the same values."""
