"""The `curate` command: one file per subcommand; each parses, calls one library function, prints."""

from curate.cli.app import main

__all__ = ["main"]
