"""Loads and runs models: files, rendering, batches, forward passes, decoding."""
