"""The built-in pool, whose truth is known, and the tiny model that is trained on the spot to score it."""
