"""Scores the pool: plans passes, runs shards in workers, commits the parts."""
