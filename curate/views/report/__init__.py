"""Reports about a store, its selections and proofs: one self-contained file."""
