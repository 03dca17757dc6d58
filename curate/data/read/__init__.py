"""Reads any dataset: containers, format detection, canonical examples."""
