"""Exports for other trainers, with the files that register a dataset."""
