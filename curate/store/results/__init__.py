"""Results: selections, revised responses and trials."""
