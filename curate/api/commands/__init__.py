"""The options of every command: flags, recipe keys and Python keywords in one place."""
