"""Proofs: train on each method's subset and on random ones, and compare."""
