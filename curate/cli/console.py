"""What commands print: results on stdout, progress and notes on stderr."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, ClassVar, Final, Literal, final

import typer

from curate.contracts.display import printable
from curate.contracts.json_values import finite_or_none, json_tree
from curate.contracts.progress import Progress
from curate.errors import ConfigError

LINE_INTERVAL_S: Final = 10.0
COLUMN_GAP: Final = 3  # characters between two columns of a table
LEAST_WIDTH: Final = 12  # characters that a column whose cells are broken keeps


@final
class Stdout:
    """What this command has printed: ``--json`` promises one document, of a result or of an error."""

    has_document: ClassVar[bool] = False


@final
class Drawn(str):
    """Text in which nothing but our own colours commands a terminal, so that `emit` prints it as it is."""

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True)
class Coloured:
    """A cell of a table, in a colour of rich such as ``green`` where the terminal shows colours."""

    text: str
    colour: str


def emit(document: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print the result of a command: one JSON document, or text for a person."""
    Stdout.has_document = Stdout.has_document or as_json
    shown = _json(document) if as_json else text
    if shown:
        typer.echo(shown if isinstance(shown, Drawn) else printable(shown))


def _json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON, which has no NaN and no infinity: they become null."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        finite = json_tree(document, finite_or_none)
        return json.dumps(finite, indent=2, ensure_ascii=False, default=str)


def joined(parts: Iterable[str], between: str = "\n") -> str:
    """Join texts, some of which may have colours, for `emit`."""
    return Drawn(
        between.join(part if isinstance(part, Drawn) else printable(part) for part in parts)
    )


def shows_colours() -> bool:
    """Whether stdout is a terminal that shows colours and nobody asked for none (NO_COLOR)."""
    terminal = os.environ.get("TERM", "")
    return (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and terminal not in ("", "dumb", "unknown")
    )


def confirmed(deed: str, lost: str = "") -> bool:
    """Ask whether to do what cannot be undone, such as ``delete selection a1``, and what is lost with it.

    Raises `ConfigError` where nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody can be asked here whether to {deed}; add --yes")
    return typer.confirm(f"{deed[0].upper()}{deed[1:]}{lost}?", err=True)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None
) -> str:
    """Render rows as a table as wide as the terminal allows, as text; cells may be `Coloured`."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        box=box.SIMPLE_HEAD, title=printable(title) if title else title, title_justify="left",
        pad_edge=False, header_style="none", title_style="none",
    )  # fmt: skip
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(columns))
    ]
    cells = [[_cell(value) for value in row] for row in rows]
    out = StringIO()
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "120"))
    colours = shows_colours()
    system: Literal["standard"] | None = "standard" if colours else None
    console = Console(file=out, width=width, color_system=system, force_terminal=colours)
    whole = _whole_columns(columns, cells, console.width)
    for i, (column, is_numeric) in enumerate(zip(columns, numeric, strict=True)):
        drawn.add_column(
            Text(printable(column)),
            justify="right" if is_numeric else "left",
            overflow="fold",
            no_wrap=i in whole,
        )
    for row, values in zip(cells, rows, strict=True):
        drawn.add_row(*map(Text, row, map(_colour, values)))
    console.print(drawn)
    lines = (line.rstrip() for line in out.getvalue().rstrip("\n").splitlines())
    return Drawn("\n".join(lines))


def _whole_columns(
    columns: Sequence[str], cells: Sequence[Sequence[str]], width: int
) -> frozenset[int]:
    """Return the columns whose cells are never broken: the narrowest, while the others have room."""
    widths = [
        max(
            len(line)
            for text in (column, *(row[i] for row in cells))
            for line in [*text.splitlines(), ""]
        )
        for i, column in enumerate(columns)
    ]
    narrow = sorted(range(len(columns)), key=lambda i: (widths[i], i))
    room = width - COLUMN_GAP * len(columns)
    for n in range(len(columns), 0, -1):
        rest = sum(min(widths[i], LEAST_WIDTH) for i in narrow[n:])
        if sum(widths[i] for i in narrow[:n]) + rest <= room:
            return frozenset(narrow[:n])
    return frozenset()


def _colour(value: object) -> str:
    return value.colour if isinstance(value, Coloured) else ""


def _cell(value: object) -> str:
    if isinstance(value, Coloured):
        return printable(value.text)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return printable(str(value))


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """Show progress on stderr: bars on a terminal, otherwise one line every ten seconds."""
    if not quiet and sys.stderr.isatty():
        with _Bars() as bars:
            yield bars
    else:
        yield _Lines(quiet)


@final
class _Bars:
    """Rich progress bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        self._tasks[stage] = self._progress.add_task(
            f"{stage} ({unit})", total=total, completed=done
        )

    def advance(self, stage: str, amount: int) -> None:
        self._progress.advance(self._tasks[stage], amount)

    def finish(self, stage: str) -> None:
        task = self._tasks[stage]
        self._progress.update(task, total=self._progress.tasks[task].completed)

    def note(self, text: str) -> None:
        self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


@final
@dataclass
class _Lines:
    """One line per interval, for logs and pipes; notes at once. Silent when quiet."""

    quiet: bool
    done: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    totals: dict[str, tuple[int | None, str]] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        now = time.monotonic()
        self.done[stage] = self.shown[stage] = self.found[stage] = done
        self.totals[stage] = (total, unit)
        self.began[stage] = self.said[stage] = now

    def advance(self, stage: str, amount: int) -> None:
        self.done[stage] += amount
        if time.monotonic() - self.said[stage] >= LINE_INTERVAL_S:
            self._say(stage)

    def finish(self, stage: str) -> None:
        if self.done[stage] != self.shown.get(stage, 0):
            self._say(stage)

    def note(self, text: str) -> None:
        if not self.quiet:
            typer.echo(printable(text), err=True)

    def _say(self, stage: str) -> None:
        self.said[stage], self.shown[stage] = time.monotonic(), self.done[stage]
        elapsed = max(self.said[stage] - self.began[stage], 1e-9)
        total, unit = self.totals[stage]
        of = f" of {total:,}" if total is not None else ""
        rate = (self.done[stage] - self.found[stage]) / elapsed
        left = f", {(total - self.done[stage]) / rate:,.0f} s left" if total and rate else ""
        speed = f"{rate:,.0f}/s" if rate >= 1 else f"{1 / rate:,.0f} s each" if rate else "0/s"
        self.note(f"{stage}: {self.done[stage]:,}{of} {unit}, {speed}, {elapsed:,.0f} s{left}")
