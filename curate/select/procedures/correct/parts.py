"""Work over many examples in parts: each finished part is a file, and is never repeated."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import pyarrow as pa

from curate.contracts import OUT_OF_MEMORY
from curate.contracts.progress import Progress
from curate.errors import DeviceError, ProcedureError
from curate.store.parts import read_part, write_part

PART_ROWS: Final = 512

T = TypeVar("T")
Part: TypeAlias = tuple[pa.Table, Mapping[str, Any]]  # rows, and the facts of making them
Work: TypeAlias = Callable[[Sequence[T]], Part]


def write_parts(
    folder: Path, items: Sequence[T], load: Callable[[], Work[T]], progress: Progress, stage: str
) -> None:
    """Do the parts missing from a folder, in order; ``load`` is called only if there are any.

    What a part holds depends on its items alone, so a killed run resumes and gives the same rows.
    A lack of memory is no result: raises `DeviceError`, and the part is not written.
    """
    starts = range(0, len(items), PART_ROWS)
    missing = [start for start in starts if not _path(folder, start).exists()]
    if not missing:
        return
    work = load()
    progress.start(stage, len(items), "examples")
    progress.advance(stage, len(items) - sum(len(items[s : s + PART_ROWS]) for s in missing))
    for start in missing:
        chosen = items[start : start + PART_ROWS]
        table, facts = work(chosen)
        _refuse_lack_of_memory(stage, table)
        write_part(_path(folder, start), table, facts)
        progress.advance(stage, len(chosen))
    progress.finish(stage)


def read_parts(folder: Path) -> Part:
    """Return the rows of all parts in order, and the sums of their facts.

    Raises `ProcedureError` for a folder without any.
    """
    parts = [read_part(path) for path in sorted(folder.glob("part-*.parquet"))]
    if not parts:
        raise ProcedureError(
            f"{folder} has no parts left; delete the folder {folder.parent.parent / 'procedures'} "
            "to run the procedure from the start (finished scores are kept)"
        )
    facts = {name: sum(part_facts[name] for _, part_facts in parts) for name in parts[0][1]}
    return pa.concat_tables([table.replace_schema_metadata(None) for table, _ in parts]), facts


def _refuse_lack_of_memory(stage: str, table: pa.Table) -> None:
    if "failure" not in table.column_names:  # work that has no failures
        return
    failures = zip(table["parent_id"].to_pylist(), table["failure"].to_pylist(), strict=True)
    short = [example for example, reason in failures if reason == OUT_OF_MEMORY]
    if short:
        n = f"{len(short)} examples do" if len(short) > 1 else "1 example does"
        raise DeviceError(
            f"{stage}: {n} not fit in memory even alone, example {short[0]} first; finished parts are "
            "kept, this one is not stored; run the same command with more memory or --dtype "
            f"bfloat16, or leave the example out: curate forget --where \"id = '{short[0]}'\""
        )


def _path(folder: Path, start: int) -> Path:
    return folder / f"part-{start // PART_ROWS:05d}.parquet"
