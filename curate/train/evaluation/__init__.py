"""Held-out loss and exact match of generated answers."""
