"""How to score: the options of every command that may compute scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from curate.contracts import ROLES
from curate.errors import ConfigError, did_you_mean
from curate.models.text.chat_options import ChatOptions, arguments_of
from curate.models.text.masks import CURATE, TRL
from curate.models.text.templates import CHAT
from curate.scoring.executors import EXECUTORS


@final
@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How to score: models by role, rendering, device and parallelism.

    ``models`` maps roles to folders or hub ids. ``max_failures`` is a count or a share such as
    ``1%`` of the examples of each score set. ``from_checkpoints`` is a folder whose checkpoints
    a trajectory is measured at, instead of training. ``reasoning``, ``template_args``,
    ``chat_template`` and ``mask`` are those of `ChatOptions.of`, the arguments as one text.
    ``profile`` is a folder for a trace of the first shard of each pass.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    revision: str | None = None
    template: str = "method"
    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    workers: int | None = None
    executor: str = "local"
    max_failures: str = "1%"
    max_hours: float | None = None
    from_checkpoints: str | None = None
    reasoning: str | None = None
    template_args: str | None = None
    chat_template: str | None = None
    mask: str | None = None
    profile: str | None = None

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
    def chat_settings(self) -> dict[str, Any]:
        """What is chosen of these as settings of a training run, by dotted name."""
        given = {
            "data.reasoning": self.reasoning,
            "data.template_args": self.template_args,
            "data.chat_template": self.chat_template,
            "data.mask": self.mask,
        }
        return {name: value for name, value in given.items() if value is not None}

    def __post_init__(self) -> None:
        unknown = sorted(set(self.models) - set(ROLES))
        if unknown:
            hint = did_you_mean(unknown[0], ROLES)
            raise ConfigError(f"no role {unknown[0]!r}{hint}; roles are: {', '.join(ROLES)}")
        if self.template not in ("method", CHAT, "plain", TRL):
            raise ConfigError(f"--template is method, chat, plain or trl, got {self.template!r}")
        if self.template == "plain" and self.chat.mask != CURATE:
            raise ConfigError(
                f"--mask {self.mask} says what is scored of a chat template, but --template plain "
                "uses none; leave one of them out"
            )
        if self.executor not in EXECUTORS:
            raise ConfigError(f"--executor is {' or '.join(EXECUTORS)}, got {self.executor!r}")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ConfigError(f"--batch-tokens must be positive, got {self.batch_tokens}")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {self.workers}")
        if self.max_hours is not None and not self.max_hours > 0:
            raise ConfigError(f"--max-hours must be positive, got {self.max_hours:g}")
        target = self.models.get("target")
        if self.revision is not None and target is not None and Path(target).is_dir():
            raise ConfigError(
                f"--revision {self.revision!r} is a revision on the hub, but {target!r} is a folder; "
                "leave --revision out, or give --model as a hub id"
            )
        self.tolerated(100)
        _ = self.chat  # refuses what it cannot use

    def tolerated(self, n_examples: int) -> int:
        """Return how many of ``n_examples`` may fail."""
        text = self.max_failures.strip()
        try:
            share = float(text.removesuffix("%"))
        except ValueError:
            share = -1.0
        if share < 0 or (not text.endswith("%") and not share.is_integer()):
            raise ConfigError(
                f"--max-failures takes a count or a share, got {self.max_failures!r}; type 10 or 1%"
            )
        return int(n_examples * share / 100) if text.endswith("%") else int(share)
