"""Options that several commands share: the shell's, of reading, of scoring, of training."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias

from curate.api.commands.option import Command, Option, option, options_of, passed_on
from curate.contracts.settings import MismatchError
from curate.data.read.given import Data
from curate.errors import DataError, idle
from curate.scoring.options import ScoringOptions

OnError: TypeAlias = Literal["fail", "skip"]

READING: Final = "Reading data"
SCORING: Final = "Models and scoring"
TRAINING: Final = "Training"
WRITING: Final = "Output"
GENERAL: Final = "General"

DEFAULT_STORE: Final = Path("curate.duckdb")
LORA_LR: Final = 2e-4

WORKERS: Final = (
    "Worker processes. Default: as many as the work keeps busy, at most one per GPU or CPU core."
)
OVERWRITE: Final = "Replace the output even if it is an input, or not an earlier output."

_COUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:tok)?", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}

NO_SETTINGS: Final[dict[str, Any]] = {}


def read_text(value: Any) -> str:
    """Read a value as it is typed: ``5000`` and ``10%`` are both budgets, a path is its text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise MismatchError("is not text")
    return str(value)


def read_texts(value: Any) -> tuple[str, ...]:
    """Read one value or several as they are typed."""
    return tuple(map(read_text, value if isinstance(value, list | tuple) else (value,)))


def read_count(value: Any) -> int:
    """Read a number of tokens such as ``300000``, ``300k`` or ``2Mtok``."""
    match = _COUNT.fullmatch(read_text(value).strip())
    if match is None:
        raise MismatchError("is not a number of tokens; type 300000, 300k or 2M")
    return round(float(match.group(1)) * _FACTORS[match.group(2).lower()])


def read_mix(value: Any) -> dict[str, Any]:
    """Read shares by key from a mapping, or from text such as ``a=50%,b=50%``; a name may have commas."""
    if isinstance(value, Mapping):
        return dict(value)
    shares: dict[str, str] = {}
    for text in read_texts(value):
        begun = ""
        for part in text.split(","):
            key, equals, share = f"{begun}{part}".rpartition("=")
            begun = "" if equals else f"{begun}{part},"
            if equals and key.strip() in shares:
                raise MismatchError(f"gives the share of {key.strip()!r} twice; give it once")
            if equals:
                shares[key.strip()] = share
        if begun:
            raise MismatchError("is not shares by source; type them as in dolly=70%,gsm8k=30%")
    return shares


def read_ids(value: Any) -> tuple[str, ...]:
    """Read ids from a list, from text with commas, or from a file with one a line."""
    if not isinstance(value, str):
        return read_texts(value)
    if os.path.isfile(value):  # unlike Path.is_file, false for a list of ids too long for a name
        try:
            items = Path(value).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cannot read ids from {value!r}: {error}; one id a line, UTF-8"
            ) from error
    elif value.endswith(".txt") or "/" in value:
        raise DataError(f"no file of ids {value!r}; check the path, or give comma-separated ids")
    else:
        items = value.split(",")
    return tuple(item.strip() for item in items if item.strip())


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What a command does with its result and its store, whatever it does otherwise."""

    command: ClassVar[str] = "shell"

    store: Path = option(DEFAULT_STORE, "The store: one DuckDB file, with a folder of parts beside it.", env="CURATE_STORE", group=GENERAL, places=("flag",))  # fmt: skip
    as_json: bool = option(False, "Print one JSON document on stdout.", flag="--json", group=GENERAL, places=("flag",))  # fmt: skip
    quiet: bool = option(False, "No progress or notes on stderr.", short="-q", group=GENERAL, places=("flag",))  # fmt: skip
    verbose: bool = option(False, "Log what the library does to stderr.", short="-v", group=GENERAL, places=("flag",))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How datasets are read."""

    command: ClassVar[str] = "reading"

    format: str = option("auto", "auto, alpaca, sharegpt, messages, prompt-completion, prompt-response, prompt-responses, text or preference.", group=READING)  # fmt: skip
    split: str = option("train", "Split to read, if the dataset has several.", group=READING)
    source: str | None = option(None, "Source name for these examples.", group=READING)
    columns: Mapping[str, str] = option(NO_SETTINGS, "Read a field from another column, as in messages=dialogs. Repeatable.", flag="--column", metavar="FIELD=COLUMN", group=READING)  # fmt: skip
    roles: Mapping[str, str] = option(NO_SETTINGS, "Read turns of this speaker as a role, as in narrator=system. Repeatable.", flag="--role", metavar="SPEAKER=ROLE", group=READING)  # fmt: skip
    on_error: OnError = option("fail", "fail: stop at the first bad row. skip: record bad rows and continue.", group=READING)  # fmt: skip

    def check_read(self, data: Sequence[Data]) -> None:
        """Raise `ConfigError` for an option of reading beside no data that it could apply to."""
        given = [
            opt.flag
            for opt in options_of(Reading)
            if not data and getattr(self, opt.name) != opt.default
        ]
        if given:
            raise idle(
                given,
                "{says} how DATA is read, and none is given: name the data, or leave {it} out; to narrow the "
                "pool by source: --where \"source = 'NAME'\"",
            )


@dataclass(frozen=True, kw_only=True)
class TargetModel:
    """The model that is scored with."""

    model: str | None = option(None, "Target model: a folder or a Hugging Face id.", short="-m", takes="model", group=SCORING)  # fmt: skip
    adapter: str | None = option(None, "PEFT adapter on top of the target model.", group=SCORING)


@dataclass(frozen=True, kw_only=True)
class Chat:
    """How conversations go through a chat template."""

    reasoning: Literal["inline", "drop", "fail"] | None = option(None, "Reasoning the chat template does not write: inline (in think tags before the content), drop, or fail (those examples).", setting="data.reasoning", group=SCORING)  # fmt: skip
    template_args: str | None = option(None, "Arguments for the chat template, as in enable_thinking=false.", metavar="KEY=VALUE,...", setting="data.template_args", group=SCORING)  # fmt: skip
    chat_template: str | None = option(None, "Chat template (a Jinja file) to use instead of the model's own.", metavar="FILE", setting="data.chat_template", group=SCORING)  # fmt: skip
    mask: Literal["curate", "trl", "llama-factory"] | None = option(None, "Whose rule says which tokens of a chat template count: curate, or what trl or llama-factory trains on. Default: curate.", setting="data.mask", group=SCORING)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scoring(Chat):
    """How what is missing is scored, with which models."""

    model_for: Mapping[str, str] = option(NO_SETTINGS, "Model for another role: proxy, encoder, reward, nli, judge, reference. Repeatable.", metavar="ROLE=MODEL", group=SCORING)  # fmt: skip
    template: str = option("method", "method: each paper's own template. chat or plain: one template for all, in one pass. trl: chat, with TRL's training template.", group=SCORING)  # fmt: skip
    revision: str | None = option(None, "Hub revision of the target model.", group=SCORING)
    device: str = option("auto", "auto, cpu, cuda or cuda:N.", group=SCORING)
    dtype: str = option("auto", "auto (docs/cost.md), float32, bfloat16 or float64.", group=SCORING)
    workers: int | None = option(None, WORKERS, short="-w", group=SCORING)  # fmt: skip
    max_failures: str = option("1%", "Failed examples to tolerate: a count, or a share such as 1%. More than that exits with code 3.", read=read_text, group=SCORING)  # fmt: skip
    max_hours: float | None = option(None, "Stop after this many hours; finished work is saved.", group=SCORING)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ScoringPass(Scoring, TargetModel):
    """How scorers run over the pool."""

    batch_tokens: int | None = option(None, "Tokens per batch, padding included. Fixed by the first run of a score set.", group=SCORING)  # fmt: skip
    backend: str = option("auto", "What runs language models: auto (the own pass), or vllm, which gives log-probabilities alone, into score sets of their own.", group=SCORING)  # fmt: skip
    executor: str = option(
        "local", "Where shards are scored: local, or ray (a cluster).", group=SCORING
    )
    ray_address: str | None = option(None, "Ray cluster: HOST:PORT, auto (the one that runs on this machine) or local (one for this job). Default: RAY_ADDRESS, else local.", metavar="ADDRESS", group=SCORING)  # fmt: skip
    num_gpus_per_worker: float | None = option(None, "GPUs that each worker holds; a language model lies over all of them. Default: as few as it needs; on Ray, where 0.5 shares one, none.", metavar="X", group=SCORING)  # fmt: skip
    max_workers: int | None = option(None, "Workers on Ray at most; those without room wait, so that a cluster that can grow does. Default: as many as there is room for.", metavar="N", group=SCORING)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Training(Chat):
    """How a model is trained; whatever is not given has the default of its setting."""

    lora: bool = option(False, "Train a low-rank adapter instead of all weights.", group=TRAINING)
    max_tokens: int | None = option(None, "Trained tokens instead of epochs: 300000, 300k or 2M.", metavar="N", read=read_count, group=TRAINING)  # fmt: skip
    objective: str | None = option(None, "Training loss, such as dft (see `curate methods`). Default: next-token.", setting="objective", group=TRAINING)  # fmt: skip
    policy: str | None = option(None, "Which rows of each batch to train on, such as drop-highest-loss. Default: keep-all.", setting="policy", group=TRAINING)  # fmt: skip
    mixture: str | None = option(None, "How often to draw each source, such as loss-proportional. Default: uniform, the data as it is.", setting="mixture", group=TRAINING)  # fmt: skip
    lr: float | None = option(None, "Peak learning rate. Default: 2e-5, or 2e-4 with --lora.", setting="optimiser.lr", group=TRAINING)  # fmt: skip
    schedule: Literal["cosine", "linear", "constant"] | None = option(None, "Learning-rate schedule: cosine, linear or constant. Default: cosine.", setting="optimiser.schedule", group=TRAINING)  # fmt: skip
    batch_tokens: int | None = option(None, "Tokens per optimiser step.", setting="data.batch_tokens", group=TRAINING)  # fmt: skip
    micro_tokens: int | None = option(None, "Tokens per forward pass; must fit in memory.", setting="data.micro_tokens", group=TRAINING)  # fmt: skip
    max_length: int | None = option(None, "Maximum length in tokens; longer examples are truncated.", setting="data.max_length", group=TRAINING)  # fmt: skip
    train_template: str | None = option(None, "chat, plain or another text template, or trl (TRL's training template). Default: chat if the tokenizer has a chat template, else plain.", setting="data.template", group=TRAINING)  # fmt: skip
    extractor: str | None = option(None, "Also generate, and compare the answers this extractor finds: last-number, exact or first-line.", setting="watch.extractor", group=TRAINING)  # fmt: skip
    max_new_tokens: int | None = option(None, "Maximum number of tokens to generate per example. Default: 256.", setting="watch.max_new_tokens", group=TRAINING)  # fmt: skip
    threads: int | None = option(None, "CPU threads; the same number gives bit-identical results.", setting="compute.threads", group=TRAINING)  # fmt: skip


def training_settings(command: Command, further: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of training a command gives, by dotted name; LoRA has its own rate."""
    lora: bool = getattr(command, "lora", False)
    settings: dict[str, Any] = {"optimiser.lr": LORA_LR} if lora else {}
    for opt in options_of(type(command)):
        value = getattr(command, opt.name)
        if opt.declared.setting and value is not None and value is not False:
            settings[opt.declared.setting] = value
    return {**settings, **further}


def scoring_options(
    command: Scoring, model: str | None, without: tuple[str, ...] = ()
) -> "ScoringOptions":
    """Return what a command says about scoring, with a model for each role."""
    models = {**({"target": model} if model is not None else {}), **command.model_for}
    return ScoringOptions(models=models, **passed_on(command, ScoringOptions, without))  # type: ignore[arg-type]


# What of the shell's options a command has no use for.
_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {
    "demo": ("store",), "methods": ("store", "quiet", "verbose"), "doctor": ("quiet",),
    "explain": ("quiet",), "run": ("store",), "reproduce": ("store",),
}  # fmt: skip


def flags_of(cls: type[Command]) -> tuple[Option, ...]:
    """Return everything a command takes on the command line, the shell's options last."""
    without = _WITHOUT.get(cls.command, ())
    own = [option for option in options_of(cls) if "flag" in option.declared.places]
    return (*own, *(option for option in options_of(Shell) if option.name not in without))
