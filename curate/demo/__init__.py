"""The built-in pool with known truth, and the tiny model trained on the spot to score it."""
