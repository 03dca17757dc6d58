"""`report`: one self-contained page about a store, or a proof."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from curate.api.commands.groups import OVERWRITE
from curate.api.commands.option import option, passed_on
from curate.data.write.overwriting import has_mark, input_files, refuse_overwriting
from curate.views.report.build import ReportOptions, check_path, write_report
from curate.views.report.page import MADE_BY

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.contracts.progress import Progress


@final
@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write a self-contained report of the pool, its scores and selections, or of a proof."""

    command: ClassVar[str] = "report"

    output: Path = option(..., "The file to write: NAME.html, or NAME.md with --md.", short="-o")
    selections: tuple[str, ...] = option((), "A selection to show in full (see curate selections). Repeatable; default: the newest of each method.", flag="--selection", takes="selection")  # fmt: skip
    proof: Path | None = option(None, "The JSON that curate prove -o wrote beside its page. By itself, it needs no store.")  # fmt: skip
    benchmarks: tuple[str, ...] = option((), "Benchmark (file or Hugging Face id) whose examples should not be in the pool. Repeatable.", flag="--benchmark")  # fmt: skip
    as_markdown: bool = option(False, "Write Markdown instead of HTML.", flag="--md")
    overwrite: bool = option(False, OVERWRITE)

    @property
    def needs_store(self) -> bool:
        """Whether it is about more than a proof."""
        return self.proof is None or bool(self.selections or self.benchmarks)

    def run(self, pool: "Pool") -> dict[str, Any]:
        """Write the page; return where it is, its size and what it warns of."""
        return self.write(pool if self.needs_store else None, pool.progress)

    def write(self, pool: "Pool | None", progress: "Progress") -> dict[str, Any]:
        """Write the page of a pool, or of a proof alone without one."""
        check_path(self.output, self.as_markdown)
        options = ReportOptions(**passed_on(self, ReportOptions))
        store = None if pool is None else pool.store
        read = [] if store is None else input_files(store)
        read += [Path(path) for path in (self.proof, *self.benchmarks) if path is not None]
        refuse_overwriting(self.output, read, has_mark(MADE_BY), overwrite=self.overwrite)
        return write_report(store, self.output, options, progress)
