"""Training trajectories of a small model: its loss on every example during one run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

from curate.contracts import Column, Role, RunRecipe, RunScorer
from curate.errors import ConfigError
from curate.registry import register

OUTPUTS: Final[Mapping[str, Column]] = {
    "losses": Column(
        "floats",
        "mean NLL in nats per response token, end of turn included, at each point; lower is better",
    ),
    "steps": Column("ints", "optimiser steps done at each point"),
}


@register
@final
@dataclass(frozen=True)
class Trajectory(RunScorer):
    """The loss of every example at evenly spaced points of training the proxy on the pool.

    The proxy is trained once, inside this process, and the pool is measured at every point by the
    scoring kernel. Defaults are those of S2L's shipped configuration [1]_ where it has them: 12
    points, 3 epochs, learning rate 2e-5, cosine, Alpaca prompt, 512 tokens. Deviations: batches
    are counted in tokens and not in rows; the loss before the first step is never a point, as there.

    Parameters
    ----------
    points
        Measurements; as many forward passes over the pool.
    epochs
        Number of times each training example is seen; ignored with ``max_tokens``.
    max_tokens
        Trained tokens instead of epochs, or none.
    lr
        Peak learning rate.
    batch_tokens
        Tokens per optimiser step.
    share
        Share of the pool to train on, in (0, 1]; all of the pool is measured.
    source
        ``run``, or ``train_log``: the approximation that keeps the losses of the training steps,
        one per epoch, without further measurements.
    seed
        Seed for the share drawn and the order of the rows.
    max_length
        Maximum length in tokens; longer examples are truncated.
    template
        Text template, or ``chat``.

    References
    ----------
    .. [1] Yang, Mishra, Chiang and Mirzasoleiman, SmallToLarge (S2L): Scalable Data Selection for
       Fine-tuning Large Language Models by Summarizing Training Trajectories of Small Models,
       NeurIPS 2024. https://arxiv.org/abs/2403.07384
    """

    name: ClassVar[str] = "trajectory"
    version: ClassVar[int] = 1
    outputs: ClassVar[Mapping[str, Column]] = OUTPUTS
    role: ClassVar[Role | None] = "proxy"
    points: int = 12
    epochs: int = 3
    max_tokens: int | None = None
    lr: float = 2e-5
    batch_tokens: int = 16_384
    share: float = 1.0
    source: Literal["run", "train_log"] = "run"
    seed: int = 0
    max_length: int = 512
    template: str = "alpaca"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"trajectory.share is a share in (0, 1], got {self.share!r}")
        if self.points < 1:
            raise ConfigError(f"trajectory.points must be at least 1, got {self.points!r}")

    def recipe(self) -> RunRecipe:
        length = (
            {"epochs": self.epochs} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        )
        return RunRecipe(
            points=self.points,
            source=self.source,
            share=self.share,
            seed=self.seed,
            settings={
                "data.batch_tokens": self.batch_tokens,
                "data.max_length": self.max_length,
                "optimiser.lr": self.lr,
                **{f"length.{name}": value for name, value in length.items()},
            },
        )
