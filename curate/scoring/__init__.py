"""The one-pass kernel: plan, render, batch, forward, reduce, one shard at a time."""
