"""A generated pool with known truth, and a tiny model trained on the spot."""
