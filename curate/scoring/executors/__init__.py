"""Where shards run: processes on this machine."""
