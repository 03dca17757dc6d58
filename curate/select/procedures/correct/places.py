"""Where candidates and verdicts are stored, with a note of how they were made."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.errors import ProcedureError
from curate.store.parts import read_json, write_json
from curate.store.results.revisions import CANDIDATES, VERDICTS

if TYPE_CHECKING:
    from curate.store import Store

_NOTE: Final = "step.json"


def candidates_folder(store: "Store", candidates: str) -> Path:
    """Return the folder of the result of a step `Generate`."""
    return store.parts / CANDIDATES / candidates


def verdicts_folder(store: "Store", verdicts: str) -> Path:
    """Return the folder of the result of a step `Judge`."""
    return store.parts / VERDICTS / verdicts


def write_note(folder: Path, note: Mapping[str, Any]) -> None:
    """Record how the parts of a folder are made, with the ``step`` that asked for them."""
    if not (folder / _NOTE).exists():
        write_json(folder / _NOTE, dict(note))


def read_note(folder: Path) -> dict[str, Any]:
    """Return the note of a folder; `ProcedureError` if it was deleted."""
    if not (folder / _NOTE).exists():
        raise ProcedureError(
            f"{folder} was deleted; delete the folder {folder.parent.parent / 'procedures'} to run the "
            "procedure from the start (finished scores are kept)"
        )
    return dict(read_json(folder / _NOTE))
