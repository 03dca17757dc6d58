"""`export`: write a selection to a file or folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from curate.api.commands.groups import OVERWRITE, WRITING
from curate.api.commands.option import option, options_of, passed_on
from curate.data.write.export import ExportSpec, export
from curate.errors import idle

if TYPE_CHECKING:
    from curate.api.pool import Pool


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How the rows of a selection are written."""

    command: ClassVar[str] = "writing"

    to: Literal["input", "messages", "sharegpt", "alpaca", "prompt-completion"] | None = option(None, "input (rows as they came), messages, sharegpt, alpaca or prompt-completion. Default: input, or messages where columns differ, or the trainer's own.", group=WRITING)  # fmt: skip
    order: Literal["rank", "input"] = option("rank", "rank: best first. input: as in the input.", group=WRITING)  # fmt: skip
    annotate: bool = option(False, "Add curate_id, curate_rank, curate_gain, curate_weight and curate_reason.", group=WRITING)  # fmt: skip
    keep_duplicates: bool = option(False, "Write every occurrence of a selected example, not just the first.", group=WRITING)  # fmt: skip
    overwrite: bool = option(False, OVERWRITE, group=WRITING)

    def check_written(self, output: Path | None) -> None:
        """Raise `ConfigError` for an option of writing beside no output that it could apply to."""
        given = [
            opt.flag
            for opt in options_of(Writing)
            if output is None and getattr(self, opt.name) != opt.default
        ]
        if given:
            raise idle(
                given,
                "{says} how rows are written, and no output is given: add -o FILE, leave {it} out, or write "
                "the selection later: curate export --selection latest -o FILE",
            )


@final
@dataclass(frozen=True, kw_only=True)
class ExportCommand(Writing):
    """Write a selection to a file or folder, with its manifest beside it."""

    command: ClassVar[str] = "export"

    selection: str = option(
        ...,
        "A selection: its name, its id, latest or latest:METHOD (see curate selections).",
        takes="selection",
    )
    output: Path = option(..., "A .jsonl, .json, .parquet, .csv or .arrow file (also .gz, .zst), or a folder.", short="-o")  # fmt: skip
    trainer: str | None = option(None, "Write a folder for this trainer, with its dataset registration: llama-factory, axolotl or trl.")  # fmt: skip
    validation: str | None = option(None, "Also write a validation split, such as 5% or 500 examples, that shares no instruction with the rest.", read=str)  # fmt: skip
    seed: int = option(0, "Seed for every random choice.")
    shard_rows: int | None = option(None, "Rows per file of a folder. Default: files of 256 MiB.")  # fmt: skip
    lossy: bool = option(False, "Write what the format can hold and report what was lost, instead of failing.")  # fmt: skip
    push_to_hub: str | None = option(None, "Print what would be uploaded to this dataset repository; with --yes, upload it. New repositories are private.", metavar="OWNER/NAME")  # fmt: skip
    yes: bool = option(False, "Carry out what --push-to-hub prints.")

    def run(self, pool: "Pool") -> dict[str, Any]:
        """Write the selection and its manifest; return what was written and where."""
        return export(
            pool.store, self.selection, self.output, push_to_hub=self.push_to_hub, yes=self.yes,
            overwrite=self.overwrite,
            **passed_on(self, ExportSpec),
        )  # fmt: skip
