"""How examples become tokens and batches of a training run: its settings, and checks of settings."""

import math
from dataclasses import dataclass
from typing import Literal, final

from curate.contracts import Rendering
from curate.errors import ConfigError
from curate.models.text.chat_options import ChatOptions, arguments_of
from curate.models.text.masks import MASKS, TRL
from curate.models.text.templates import CHAT


@final
@dataclass(frozen=True, slots=True)
class DataConfig:
    """How examples become tokens, and tokens become batches.

    Parameters
    ----------
    template
        A text template, ``chat`` for the tokenizer's own, ``trl`` for TRL's training template of
        this model, or ``auto``: chat if there is one, else plain.
    turns
        Which assistant turns are trained on.
    max_length
        Cap in tokens below the model's context; longer rows are cut on the right and counted.
    batch_tokens
        Tokens per optimiser step, over all processes, not counting padding.
    micro_tokens
        Tokens per forward pass, including padding; must fit in memory. Affects speed
        and rounding, not which examples share a step. None: on a GPU what its memory holds, from 4,096
        on; on a CPU 2,048.
    reasoning
        What becomes of reasoning that the chat template does not write: ``inline``, ``drop`` or
        ``fail``; see `curate.models.text.chat_options.ChatOptions`. None: the command asks.
    template_args
        Arguments of the chat template, as in ``enable_thinking=false,level=3``.
    chat_template
        File with a chat template that stands in for the model's own.
    mask
        Which tokens of a chat template are trained on: ``curate``, ``trl`` or ``llama-factory``;
        see `curate.models.text.masks`. None: curate.
    """

    template: str = "auto"
    turns: Literal["all", "last"] = "all"
    max_length: int | None = None
    batch_tokens: int = 16_384
    micro_tokens: int | None = None
    reasoning: str | None = None
    template_args: str | None = None
    chat_template: str | None = None
    mask: str | None = None

    @property
    def chat(self) -> ChatOptions:
        """How conversations go through the chat template."""
        return ChatOptions.of(
            self.reasoning,
            arguments_of(self.template_args),
            self.chat_template,
            self.mask,
            from_trl=self.template == TRL,
        )

    @property
    def rendering(self) -> Rendering:
        """How examples are written, once ``template`` is no longer ``auto``."""
        template = CHAT if self.template == TRL else self.template
        return Rendering(template, turns=self.turns, max_length=self.max_length)

    def __post_init__(self) -> None:
        choice("turns", self.turns, ("all", "last"))
        if self.reasoning is not None:
            choice("reasoning", self.reasoning, ("inline", "drop", "fail"))
        if self.mask is not None:
            choice("mask", self.mask, MASKS)
        positive("batch_tokens", self.batch_tokens)
        for name in ("max_length", "micro_tokens"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))


def positive(name: str, value: float) -> None:
    """Raise `ConfigError` for a setting that is not a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be a positive number, got {value!r}")


def choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` for a setting that is none of its choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
