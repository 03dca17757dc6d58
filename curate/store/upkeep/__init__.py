"""Opens, checks, cleans up and rebuilds a store; forgets examples."""
