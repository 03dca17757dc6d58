"""Progress in a notebook: Jupyter, VS Code and Colab through the kernel's display, marimo through its own.

None of this needs widgets: a bar is a line of HTML that is replaced in place. What runs the
notebook is looked up among the modules that are loaded, so that importing this imports neither.
"""

import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, final

from curate.contracts.progress import Progress
from curate.views.charts.text import html as safe
from curate.views.charts.text import plain

INTERVAL_S: Final = 0.2
OPEN_LINES: Final = 6  # of what was said; the lines before are folded away
WARNING: Final = "warning"


def notebook_progress() -> Progress | None:
    """Return the progress display for the current notebook, or None outside of one."""
    marimo = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return MarimoProgress(marimo)
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if ipython is None or getattr(shell, "kernel", None) is None:  # a terminal has no kernel
        return None
    return KernelProgress(ipython)


@dataclass
class _Stage:
    """The progress of one stage; ``handle`` draws it, if each stage has its own.

    ``found`` units were done by an earlier run.
    """

    name: str
    total: int | None
    unit: str
    handle: Any
    done: int = 0
    found: int = 0
    began: float = field(default_factory=time.monotonic)

    def text(self, ended: bool) -> str:
        """Return the stage in one line."""
        seconds = time.monotonic() - self.began
        of = f" of {self.total:,}" if self.total is not None and not ended else ""
        left = ""
        n_own = self.done - self.found
        if not ended and self.total and n_own:
            left = f", about {seconds / n_own * (self.total - self.done):,.0f} s left"
        return f"{self.name}: {self.done:,}{of} {self.unit}, {seconds:,.0f} s{left}"


@final
class KernelProgress:
    """One output below each cell, replaced in place: the notes so far, and the running bars."""

    def __init__(self, ipython: Any) -> None:
        self._ipython = ipython
        self._cell: int | None = None
        self._handle = ""
        self._lines: list[str] = []
        self._stages: dict[str, _Stage] = {}
        self._shown = 0.0

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage below the ones before it."""
        self._begin_cell()
        self._stages[stage] = _Stage(stage, total, unit, None, done, done)
        self._show()

    def advance(self, stage: str, amount: int) -> None:
        """Report units as done; draws at most five times a second."""
        self._stages[stage].done += amount
        if time.monotonic() - self._shown >= INTERVAL_S:
            self._show()

    def finish(self, stage: str) -> None:
        """End a stage; its line stays."""
        self.note(self._stages.pop(stage).text(ended=True))

    def note(self, text: str) -> None:
        """Show one line below the cell."""
        self._begin_cell()
        self._lines.append(text)
        self._show()

    def _begin_cell(self) -> None:
        """Forget an earlier cell's notes and unfinished stages."""
        cell = self._ipython.get_ipython().execution_count
        if cell != self._cell:
            self._cell, self._handle = cell, ""
            self._lines, self._stages = [], {}

    def _show(self) -> None:
        self._shown = time.monotonic()
        is_new = not self._handle
        self._handle = self._handle or uuid.uuid4().hex
        running = [bar.text(ended=False) for bar in self._stages.values()]
        self._ipython.display.display(
            {
                "text/plain": plain("\n".join([*self._lines[-OPEN_LINES:], *running])),
                "text/html": self._page(),
            },
            raw=True, display_id=self._handle, update=not is_new,
        )  # fmt: skip

    def _page(self) -> str:
        """Return the last lines, the ones before them folded away, and the running bars."""
        folded, shown = self._lines[:-OPEN_LINES], self._lines[-OPEN_LINES:]
        shown = [line for line in folded if line.startswith(WARNING)] + shown
        parts = [
            f"<details><summary>{len(folded):,} earlier lines</summary>{_lines(folded)}</details>"
            if folded
            else "",
            _lines(shown) if shown else "",
        ]
        for bar in self._stages.values():
            share = f' value="{bar.done}" max="{bar.total}"' if bar.total else ""
            parts.append(f"<div><progress{share}></progress> {safe(bar.text(ended=False))}</div>")
        style = "font:13.5px system-ui,sans-serif;font-variant-numeric:tabular-nums"
        return f'<div style="{style}">{"".join(parts)}</div>'


def _lines(lines: list[str]) -> str:
    return f'<pre style="margin:2px 0;white-space:pre-wrap">{safe(chr(10).join(lines))}</pre>'


@final
class MarimoProgress:
    """Bars of marimo; a stage of unknown length is a spinner."""

    def __init__(self, marimo: Any) -> None:
        self._marimo = marimo
        self._stages: dict[str, tuple[_Stage, Any]] = {}

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Begin a stage below the ones before it."""
        status = self._marimo.status
        title = plain(f"{stage} ({unit})")
        drawn = (
            status.spinner(title=title)
            if not total
            else status.progress_bar(total=total, title=title, remove_on_exit=True)
        )
        bar = _Stage(stage, total, unit, drawn.__enter__(), done, done)
        self._stages[stage] = bar, drawn
        if total and done:
            bar.handle.update(increment=done)

    def advance(self, stage: str, amount: int) -> None:
        """Report units as done."""
        bar, _ = self._stages[stage]
        bar.done += amount
        if bar.total:
            bar.handle.update(increment=amount)
        else:
            bar.handle.update(subtitle=plain(bar.text(ended=False)))

    def finish(self, stage: str) -> None:
        """End a stage; its line stays."""
        bar, drawn = self._stages.pop(stage)
        drawn.__exit__(None, None, None)
        self.note(bar.text(ended=True))

    def note(self, text: str) -> None:
        """Show one line below the cell."""
        self._marimo.output.append(self._marimo.plain_text(plain(text)))
