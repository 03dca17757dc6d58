"""What the command line and notebooks call: a pool with its verbs."""
