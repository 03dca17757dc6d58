"""The scorers, one file each, found by the registry."""
