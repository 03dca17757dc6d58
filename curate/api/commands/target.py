"""`target`: the sets of examples to select towards."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from curate.api.commands.groups import READING, Reading
from curate.api.commands.ingest import counted, reading_options, report_reads
from curate.api.commands.option import option
from curate.data.read.given import Data, data_words
from curate.errors import ConfigError

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.data.read.target import TargetReport


@final
@dataclass(frozen=True, kw_only=True)
class TargetCommand(Reading):
    """Add, list or remove target sets: examples to select towards, which never enter the pool."""

    command: ClassVar[str] = "target"

    action: Literal["add", "list", "remove"] = option(..., "add NAME DATA, list, or remove NAME.", argument=True)  # fmt: skip
    name: str | None = option(None, "Name of the target set, for --target NAME.", argument=True)
    data: tuple[Data, ...] = option((), "Files, globs, save_to_disk folders or ids such as org/name:config@revision.", argument=True, read=data_words)  # fmt: skip
    limit: int | None = option(None, "Read only the first N rows.", group=READING)
    yes: bool = option(False, "Remove without asking.", short="-y")

    def check(self) -> None:
        """Raise `ConfigError` for words that do not fit the action."""
        if self.action == "list" and (self.name or self.data):
            raise ConfigError("list shows every target set; type: curate target list")
        if self.action != "list" and not self.name:
            raise ConfigError(
                f"say which target set: curate target {self.action} NAME"
                + (" DATA" if self.action == "add" else "")
            )
        if self.action == "remove" and self.data:
            raise ConfigError(
                f"remove takes one target set, got {' '.join(map(str, (self.name, *self.data)))}; "
                f"type: curate target remove {self.name}"
            )

    def add(self, pool: "Pool") -> "TargetReport":
        """Read a target set; nothing of it enters the pool."""
        from curate.data.read.target import add_target

        self.check()
        assert self.name is not None
        stage = f"reading target {self.name}"
        pool.progress.start(stage, None, "rows")
        report = add_target(
            pool.store, self.name, self.data, reading_options(self, self.limit),
            counted(pool, stage),
        )  # fmt: skip
        pool.progress.finish(stage)
        report_reads(pool, report.reads)
        for warning in report.warnings:
            pool.progress.note(f"warning: target {self.name}: {warning}")
        return report
