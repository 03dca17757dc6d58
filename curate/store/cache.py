"""The user's cache: the demo's model, and what belongs to stores that cannot be written."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder where `curate` keeps what it can make again."""
    if named := os.environ.get("CURATE_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "curate"
