"""Questions to a store: views, snapshots, search, percentiles and maps."""
