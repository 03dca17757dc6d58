"""Training options that `curate train` and `curate prove` share."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import typer

from curate.errors import ConfigError

Lora: TypeAlias = Annotated[bool, typer.Option("--lora", help="Train a low-rank adapter instead of all weights.")]  # fmt: skip
ObjectiveName: TypeAlias = Annotated[str | None, typer.Option("--objective", help="Training loss, such as dft (see `curate methods`). Default: next-token.")]  # fmt: skip
PolicyName: TypeAlias = Annotated[str | None, typer.Option("--policy", help="Which rows of each batch to train on, such as drop-highest-loss. Default: keep-all.")]  # fmt: skip
MixtureName: TypeAlias = Annotated[str | None, typer.Option("--mixture", help="How often to draw each source, such as loss-proportional. Default: uniform, the data as it is.")]  # fmt: skip
LearningRate: TypeAlias = Annotated[float | None, typer.Option("--lr", help="Peak learning rate. Default: 2e-5, or 2e-4 with --lora.")]  # fmt: skip
Schedule: TypeAlias = Annotated[Literal["cosine", "linear", "constant"] | None, typer.Option("--schedule", help="Learning-rate schedule. Default: cosine.")]  # fmt: skip
TrainBatchTokens: TypeAlias = Annotated[int | None, typer.Option("--batch-tokens", help="Tokens per optimiser step.")]  # fmt: skip
MicroTokens: TypeAlias = Annotated[int | None, typer.Option("--micro-tokens", help="Tokens per forward pass; must fit in memory.")]  # fmt: skip
MaxLength: TypeAlias = Annotated[int | None, typer.Option("--max-length", help="Maximum length in tokens; longer examples are truncated.")]  # fmt: skip
TrainTemplate: TypeAlias = Annotated[str | None, typer.Option("--train-template", help="chat, plain or another text template. Default: chat if the tokenizer has a chat template, else plain.")]  # fmt: skip
Extractor: TypeAlias = Annotated[str | None, typer.Option("--extractor", help="Also generate, and compare the answers this extractor finds: last-number, exact or first-line.")]  # fmt: skip
MaxNewTokens: TypeAlias = Annotated[int | None, typer.Option("--max-new-tokens", help="Maximum number of tokens to generate per example. Default: 256.")]  # fmt: skip
TrainSetting: TypeAlias = Annotated[list[str] | None, typer.Option("--set", metavar="GROUP.FIELD=VALUE", help="Any other setting: data, length, optimiser, compute, watch, lora, objective, policy or mixture, as in optimiser.clip=0.5 or policy.k=2. Repeatable.")]  # fmt: skip
Threads: TypeAlias = Annotated[int | None, typer.Option("--threads", help="CPU threads; the same number gives bit-identical results.")]  # fmt: skip

MaxTokens: TypeAlias = Annotated[str | None, typer.Option("--max-tokens", metavar="N", help="Trained tokens instead of epochs: 300000, 300k or 2M.")]  # fmt: skip

LORA_LR: Final = 2e-4
_COUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:tok)?", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def read_count(text: str | None, flag: str) -> int | None:
    """Read a number of tokens such as ``300000``, ``300k`` or ``2Mtok``; None stays None."""
    if text is None:
        return None
    found = _COUNT.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{flag} takes a number of tokens, got {text!r}; type 300000, 300k or 2M")
    return round(float(found.group(1)) * _FACTORS[found.group(2).lower()])


def train_settings(
    given: Mapping[str, Any], lora: bool, further: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the settings that were given, by dotted name; LoRA has a learning rate of its own."""
    settings: dict[str, Any] = {"optimiser.lr": LORA_LR} if lora else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    return {**settings, **(further or {})}
