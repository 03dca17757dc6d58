"""Queries: views, snapshots, search, percentiles and maps."""
