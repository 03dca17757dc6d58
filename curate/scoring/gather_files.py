"""The files that `curate gather` reads into the pool, and which prompts they answer."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from curate.data.gathered import FOLDER

if TYPE_CHECKING:
    from curate.data.read.ingest import IngestReport
    from curate.store import Store

_RECORD: Final = ".answered.json"  # beside the file of answers


def file_of(store: "Store", settings: str, scope: str) -> Path:
    """Return the file for the answers to some prompts, asked for with some settings."""
    return (store.parts / FOLDER / f"{settings}-{scope[:16]}.jsonl").resolve()


def record(path: Path, dataset_id: str | None, groups: Sequence[str]) -> None:
    """Note which prompts a file answers, by ``group_id``, once it is read in as a dataset.

    None is the dataset of answers none of which was kept.
    """
    from curate.store.parts import write_json

    write_json(path.with_suffix(_RECORD), {"dataset": dataset_id, "groups": list(groups)})


def answered_groups(store: "Store", settings: str) -> set[str]:
    """Return the ``group_id`` of the prompts that were answered with these settings and read in.

    Answers of a dataset that was forgotten do not count.
    """
    from curate.store.parts import read_json

    there = {None, *(dataset.dataset_id for dataset in store.datasets() if dataset.n_rows)}
    found: set[str] = set()
    for path in (store.parts / FOLDER).glob(f"{settings}-*{_RECORD}"):
        noted = read_json(path)
        if noted["dataset"] in there:
            found.update(noted["groups"])
    return found


def read_in(store: "Store", path: Path, name: str, n_rows: int) -> "IngestReport":
    """Read a file of ``n_rows`` answers into the pool, also where they were there and are forgotten.

    A forgotten dataset stays in the store without its rows, and equal bytes read in the same way are
    that dataset: then a limit that leaves nothing out makes it another one.
    """
    from curate.data.read.ingest import IngestOptions, ingest

    for more in count(-1):
        limit = None if more < 0 else n_rows + more
        [read] = ingest(store, str(path), IngestOptions(format="messages", name=name, limit=limit))
        if read.n_read:
            return read
    raise AssertionError  # a number above all that were tried makes a new dataset
