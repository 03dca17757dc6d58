"""What an output may replace: an earlier output of ours, never an input or a file of somebody else."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from curate.data.write.manifest import manifest_path
from curate.errors import DataError

if TYPE_CHECKING:
    from curate.store import Store


def input_files(store: "Store") -> list[Path]:
    """Return the files the datasets of a store were read from."""
    return [Path(file) for dataset in store.datasets() for file in dataset.extra.get("files", ())]


def refuse_overwriting(
    output: Path,
    inputs: Iterable[Path],
    is_ours: Callable[[Path], bool],
    *,
    overwrite: bool = False,
) -> None:
    """Raise `DataError` if writing would destroy an input, or a file that is not ours.

    Parameters
    ----------
    output
        A file, or a folder.
    inputs
        Files that were read.
    is_ours
        Whether an existing file is an earlier output.
    overwrite
        Whether the user said that it may.
    """
    if overwrite or not output.exists():
        return
    place = output.resolve()
    for file in inputs:
        known = file.resolve()
        if known == place or (output.is_dir() and place in known.parents):
            what = "is" if known == place else f"holds {file.name!r}, which is"
            raise DataError(
                f"{output} {what} an input of this store and would be replaced; choose another "
                "place with -o, or replace it with --overwrite"
            )
    if output.is_file() and not is_ours(output):
        raise DataError(
            f"{output} exists and was not written by curate; choose another place with -o, or "
            "replace it with --overwrite"
        )


def has_manifest(output: Path) -> bool:
    """Whether the manifest of an export lies beside a file."""
    try:
        document = json.loads(manifest_path(output).read_text(encoding="utf-8"))
        return bool(document["manifest_version"] and document["output"]["name"] == output.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def has_mark(mark: str) -> Callable[[Path], bool]:
    """Return a function that tells whether a page holds our mark."""

    def holds(page: Path) -> bool:
        try:
            return mark in page.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False

    return holds
