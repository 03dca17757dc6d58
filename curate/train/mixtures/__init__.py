"""How often each source is drawn, one file per mixture."""
