"""What the command line and notebooks call: a pool with a method per command."""
