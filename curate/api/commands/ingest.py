"""`ingest`: read datasets into the pool."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, final

from curate.api.commands.groups import READING, Reading
from curate.api.commands.option import option
from curate.data.read.given import Data, data_words, shown
from curate.errors import ConfigError

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.data.read.ingest import IngestOptions, IngestReport
    from curate.store import Store

TURN_KEY: Final = "turn key "  # begins the name of what a turn holds beside its text
MAX_UNREAD: Final = 20


@final
@dataclass(frozen=True, kw_only=True)
class IngestCommand(Reading):
    """Read datasets into the pool: files, globs, folders or Hugging Face ids."""

    command: ClassVar[str] = "ingest"

    data: tuple[Data, ...] = option((), "Files, globs, save_to_disk folders, ids such as org/name:config@revision, or - for standard input.", argument=True, read=data_words)  # fmt: skip
    from_selection: str | None = option(None, "Read a selection of this store as a new dataset.", takes="selection")  # fmt: skip
    limit: int | None = option(None, "Read only the first N rows.", group=READING)

    def check(self) -> None:
        """Raise `ConfigError` for what can be seen to be wrong before anything runs."""
        if bool(self.data) == bool(self.from_selection):
            raise ConfigError("give either DATA or --from-selection ID; see curate ingest --help")

    def run(self, pool: "Pool") -> "list[IngestReport]":
        """Read the datasets, or a selection: its examples, in rank order."""
        self.check()
        if self.from_selection is None:
            return read_data(pool, self.data, self, self.limit)
        from curate.data.write.rows import ExportOptions, export_selection

        path = pool.store.parts / "selections" / f"{self.from_selection}.messages.jsonl"
        options = ExportOptions(to="messages", lossy=True)  # examples have no rejected response
        export_selection(pool.store, self.from_selection, path, options)
        how = Reading(
            format="messages",
            source=self.source or f"selection-{self.from_selection}",
            on_error=self.on_error,
        )
        return read_data(pool, (str(path),), how, self.limit)


def read_data(
    pool: "Pool", data: tuple[Data, ...], how: Reading, limit: int | None = None
) -> "list[IngestReport]":
    """Read datasets into a pool; a dataset that is already stored is not read twice.

    Raises `DataError` naming file and row; the pool is then as before.
    """
    if not data:
        return []
    from curate.data.read.ingest import ingest

    options = reading_options(how, limit)
    reports: list[IngestReport] = []
    for dataset in data:
        stage = f"reading {shown(dataset)}"
        pool.progress.start(stage, None, "rows")
        new = ingest(pool.store, dataset, options, counted(pool, stage))
        pool.progress.finish(stage)
        report_reads(pool, new)
        reports += new
    return reports


@contextmanager
def read_aside(
    pool: "Pool", data: tuple[Data, ...], how: Reading
) -> "Iterator[tuple[Store, tuple[str, ...]]]":
    """Yield a store that has some data, and the ids of its datasets: for a plan, which changes nothing.

    The pool's own if it has all of them; otherwise one of the data alone, deleted afterwards.
    """
    with tempfile.TemporaryDirectory() as folder:
        aside = type(pool)(Path(folder) / "plan.duckdb", create=True, progress=pool.progress)
        ids = tuple(dict.fromkeys(report.dataset_id for report in read_data(aside, data, how)))
        stored = {dataset.dataset_id for dataset in pool.store.datasets()}
        if stored.issuperset(ids):
            yield pool.store, ids
            return
        if stored:
            pool.progress.note(
                f"the data is not in {pool.store.path}: planned as if none of it were scored there"
            )
        yield aside.store, ids


def reading_options(how: Reading, limit: int | None) -> "IngestOptions":
    """Return what a command says of reading, as `curate.data.read.ingest` takes it."""
    from curate.data.read.ingest import IngestOptions

    return IngestOptions(
        format=how.format, split=how.split, source=how.source, columns=dict(how.columns),
        limit=limit, on_error=how.on_error, roles=dict(how.roles),
    )  # fmt: skip


def report_reads(pool: "Pool", reports: "Sequence[IngestReport]") -> None:
    """Say what each dataset was read as, with its first example."""
    for report in reports:
        _report_format(pool, report)


def counted(pool: "Pool", stage: str) -> Callable[[int], None]:
    """Return a callback that takes the rows read so far and reports the new ones.

    Where the count falls, another file has begun.
    """
    seen = 0

    def count(so_far: int) -> None:
        nonlocal seen
        pool.progress.advance(stage, so_far - seen if so_far >= seen else so_far)
        seen = so_far

    return count


def _report_format(pool: "Pool", report: "IngestReport") -> None:
    verb = "already in the store" if report.reused else f"{report.n_read:,} rows"
    pool.progress.note(
        f"{report.name}: {report.container}, detected format {report.format}, {verb}"
    )
    if report.preview and not report.reused:
        pool.progress.note(f"first example, as it will be read:\n{report.preview}")
    if report.unread:
        column = next((name for name in report.unread if not name.startswith(TURN_KEY)), None)
        usable = f"; for --rank and --where: row.{column}" if column else ""
        pool.progress.note(f"not read: {unread_line(report.unread)}{usable}")
    for warning in report.warnings:
        pool.progress.note(f"warning: {warning}")


def unread_line(unread: Mapping[str, int]) -> str:
    """List what has content but is not read, with how often, the most frequent first."""
    shown = sorted(unread.items(), key=lambda item: -item[1])
    parts = [
        f"{name} ({n:,} {'turn' if name.startswith(TURN_KEY) else 'row'}{'' if n == 1 else 's'})"
        for name, n in shown[:MAX_UNREAD]
    ]
    more = f" and {len(shown) - MAX_UNREAD} more" if len(shown) > MAX_UNREAD else ""
    return f"{', '.join(parts)}{more}"
