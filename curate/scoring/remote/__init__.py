"""Scoring by machines that see neither the store nor its folder: all they share is one URL."""
