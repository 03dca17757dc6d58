"""Scores that are measured while a model is trained."""
