"""What came of the pool: selections, the responses that replace others, and trials."""
