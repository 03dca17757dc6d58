"""Export formats for other trainers, and the files that register a dataset with them."""
