"""Opening a store, checking it, cleaning it up, forgetting examples and building it again."""
