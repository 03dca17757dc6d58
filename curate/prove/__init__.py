"""Proof: train on what each method selects and on random subsets, at equal tokens, and compare."""
