"""A store that several tests begin with, made once and copied for each."""

import shutil
from pathlib import Path
from typing import Any


def copied(made: Path, folder: Path) -> Any:
    """Copy a folder with ``curate.duckdb``, its parts and its data into another; open the copy.

    Its relations are rewritten for the new place, as by the first write to a store that was moved;
    otherwise every connection would do it for itself.
    """
    import curate as cu

    shutil.copytree(made, folder, dirs_exist_ok=True)
    pool = cu.open(folder / "curate.duckdb")
    with pool.store.write():
        return pool
