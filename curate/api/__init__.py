"""What the command line and notebooks call: one pool object, with a method per command."""
