"""Models that are loaded and run: files, rendering, batches, forward passes, decoding."""
