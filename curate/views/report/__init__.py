"""Pages about a store, its selections and its proofs: one file, without scripts or network."""
