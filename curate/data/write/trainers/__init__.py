"""What other trainers read: their formats, and the files that register a dataset with them."""
