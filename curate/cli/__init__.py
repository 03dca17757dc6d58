"""The `curate` command, one file per subcommand: parse, call the library, print."""

from curate.cli.app import main

__all__ = ["main"]
