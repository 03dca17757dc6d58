"""Options that several commands share, declared once."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from curate.errors import ConfigError

Store: TypeAlias = Annotated[Path, typer.Option("--store", help="The store: one DuckDB file, with a folder of parts beside it.", envvar="CURATE_STORE")]  # fmt: skip
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress or notes on stderr.")]  # fmt: skip
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Log what the library does to stderr.")]  # fmt: skip
Seed: TypeAlias = Annotated[int, typer.Option("--seed", help="Seed for every random choice.")]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; change nothing.")]  # fmt: skip
Model: TypeAlias = Annotated[str | None, typer.Option("--model", "-m", help="Target model: a folder or a Hugging Face id.")]  # fmt: skip
ModelFor: TypeAlias = Annotated[list[str] | None, typer.Option("--model-for", metavar="ROLE=MODEL", help="Model for another role: proxy, encoder, reward, nli, judge, reference. Repeatable.")]  # fmt: skip
Adapter: TypeAlias = Annotated[str | None, typer.Option("--adapter", help="PEFT adapter on top of the target model.")]  # fmt: skip
Revision: TypeAlias = Annotated[str | None, typer.Option("--revision", help="Hub revision of the target model.")]  # fmt: skip
Setting: TypeAlias = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A field of the method or scorer (see `curate methods NAME`). Repeatable.")]  # fmt: skip
Template: TypeAlias = Annotated[str, typer.Option("--template", help="method: each paper's own template. chat or plain: one template for all, in one pass.")]  # fmt: skip
Device: TypeAlias = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Dtype: TypeAlias = Annotated[
    str, typer.Option("--dtype", help="auto, float32, bfloat16 or float64.")
]
BatchTokens: TypeAlias = Annotated[int | None, typer.Option("--batch-tokens", help="Tokens per batch, padding included. Fixed by the first run of a score set.")]  # fmt: skip
Workers: TypeAlias = Annotated[int | None, typer.Option("--workers", "-w", help="Worker processes. Default: one per GPU, or one per CPU core.")]  # fmt: skip
MaxFailures: TypeAlias = Annotated[str, typer.Option("--max-failures", help="Failed examples to tolerate: a count, or a share such as 1%. More than that exits with code 3.")]  # fmt: skip
MaxHours: TypeAlias = Annotated[float | None, typer.Option("--max-hours", help="Stop after this many hours; finished work is saved.")]  # fmt: skip
Split: TypeAlias = Annotated[
    str, typer.Option("--split", help="Split to read, if the dataset has several.")
]
Source: TypeAlias = Annotated[
    str | None, typer.Option("--source", help="Source name for these examples.")
]
Format: TypeAlias = Annotated[str, typer.Option("--format", help="auto, alpaca, sharegpt, messages, prompt-completion, prompt-response or preference.")]  # fmt: skip
ColumnMap: TypeAlias = Annotated[list[str] | None, typer.Option("--column", metavar="FIELD=COLUMN", help="Read a field from another column, as in messages=dialogs. Repeatable.")]  # fmt: skip
OnError: TypeAlias = Annotated[Literal["fail", "skip"], typer.Option("--on-error", help="fail: stop at the first bad row. skip: record bad rows and continue.")]  # fmt: skip

DEFAULT_STORE = Path("curate.duckdb")


def pairs(items: Iterable[str] | None, flag: str) -> dict[str, str]:
    """Read repeated KEY=VALUE options; raise `ConfigError` for one without ``=``."""
    result: dict[str, str] = {}
    for item in items or ():
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"{flag} takes KEY=VALUE, got {item!r}; type {flag} key=value")
        result[key.strip()] = value
    return result


def configure_logging(verbose: bool) -> None:
    """Send the library's log to stderr when asked for, and otherwise only its warnings."""
    import logging

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("curate").setLevel(logging.DEBUG if verbose else logging.WARNING)
