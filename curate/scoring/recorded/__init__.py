"""Scores measured while a model is trained."""
