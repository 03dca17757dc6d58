"""The batches of a run in order: epochs over all rows, or rounds drawn from the sources by a mixture."""

import math
from dataclasses import replace
from typing import Any, Final, Protocol, final

import numpy as np
from jaxtyping import Float, Int

from curate.contracts import Mixture
from curate.errors import ConfigError
from curate.train.config import LengthConfig, TrainConfig
from curate.train.data import Prepared
from curate.train.data_config import DataConfig
from curate.train.steps.batches import Rows, keep_within_tokens, plan_epoch

EPOCH: Final = 0  # first words of the seeds, so that no two uses share a random stream
ROUND: Final = 1
DRAW: Final = 2
MIN_UPDATES: Final = 4  # of a run on less than one batch as it is by default


class Stream(Protocol):
    """Batches by step. What it learns on the way is its state, JSON in every checkpoint."""

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""

    def batch(self, step: int) -> Rows:
        """Return the rows of a step, counted from 0; steps are asked for in order."""

    def observe(self, rows: Rows, nll: Float[np.ndarray, " n"]) -> None:
        """Take the summed NLL of the rows a step trained on."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the step."""

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state."""


def fitted(prepared: Prepared, config: TrainConfig) -> tuple[TrainConfig, str | None]:
    """Return a run's settings with a batch that its rows fill, and what to say where that is a change.

    Only a batch of the default size is made smaller, and only if it would hold more than there is to train
    on: then a run has about four updates. A batch of any other size stays as it is.
    """
    batch = config.data.batch_tokens
    total = int(prepared.lengths.sum())
    tokens = total if config.length.max_tokens is None else min(total, config.length.max_tokens)
    if batch != DataConfig().batch_tokens or tokens >= batch:
        return config, None
    smaller = max(1, tokens // MIN_UPDATES)
    said = (
        f"{tokens:,} tokens to train on are less than one batch of {batch:,}: batches of {smaller:,} instead; "
        "set batch_tokens to choose another"
    )
    return replace(config, data=replace(config.data, batch_tokens=smaller)), said


def open_stream(prepared: Prepared, config: TrainConfig) -> Stream:
    """Plan the batches of a run.

    Raises `ConfigError` when the rows, or the token budget, are less than one batch.
    """
    lengths, data, length = prepared.lengths, config.data, config.length
    total = int(lengths.sum())
    if length.max_tokens is not None and length.max_tokens < data.batch_tokens:
        raise ConfigError(
            f"max_tokens={length.max_tokens} is less than one batch of {data.batch_tokens} tokens; "
            f"set batch_tokens to {length.max_tokens} or less, or train longer"
        )
    if total < data.batch_tokens:
        raise ConfigError(
            f"the {len(prepared)} training rows have {total} tokens, less than one batch of "
            f"{data.batch_tokens}; set batch_tokens to {total} or less, or train on more rows"
        )
    if config.method.mixture.every is None:
        return EpochStream(lengths, data.batch_tokens, length, config.seed)
    return MixedStream(prepared, config)


@final
class EpochStream:
    """Every row once per epoch, each epoch in its own order."""

    def __init__(self, lengths: Rows, batch_tokens: int, length: LengthConfig, seed: int) -> None:
        self._lengths = lengths
        self._batches: list[Rows] = []
        everything = np.arange(len(lengths))
        tokens_left = math.inf if length.max_tokens is None else length.max_tokens
        epoch = 0
        while self._goes_on(epoch, tokens_left, length):
            rng = np.random.default_rng([seed, EPOCH, epoch])
            for batch in plan_epoch(lengths, everything, batch_tokens, rng):
                kept = batch
                if int(lengths[batch].sum()) > tokens_left:
                    kept = keep_within_tokens(lengths, batch, int(tokens_left))
                    tokens_left = 0
                if len(kept):
                    self._batches.append(kept)
                    tokens_left -= int(lengths[kept].sum())
                if tokens_left <= 0:
                    break
            epoch += 1
        if length.max_steps is not None:
            del self._batches[length.max_steps :]

    def _goes_on(self, epoch: int, tokens_left: float, length: LengthConfig) -> bool:
        if length.max_steps is not None:
            return len(self._batches) < length.max_steps
        if length.max_tokens is not None:
            return tokens_left > 0
        return epoch < (length.epochs or 1)

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return len(self._batches)

    def batch(self, step: int) -> Rows:
        """Return the rows of a step."""
        return self._batches[step]

    def observe(self, rows: Rows, nll: Float[np.ndarray, " n"]) -> None:
        """Ignore the losses."""

    def state(self) -> dict[str, Any]:
        """Return nothing: the plan follows from the seed."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing."""


@final
class MixedStream:
    """Rounds of a few steps; each draws from the sources in the shares a mixture asks for.

    Every source is an endless sequence of seeded shuffles of its rows, so a small source is
    repeated and a large one not used up.
    """

    def __init__(self, prepared: Prepared, config: TrainConfig) -> None:
        assert config.method.mixture.every is not None
        self._mixture: Mixture = config.method.mixture
        self._every: int = config.method.mixture.every
        self._seed = config.seed
        self._batch_tokens = config.data.batch_tokens
        self._lengths = prepared.lengths
        self._n_targets = prepared.n_targets
        self._sources = sorted({row.source for row in prepared.rows})
        code = {source: number for number, source in enumerate(self._sources)}
        self._source_of: Int[np.ndarray, " n"] = np.array([code[r.source] for r in prepared.rows])
        self.n_steps = _n_steps(int(self._lengths.sum()), config)
        n = len(self._sources)
        self._state: dict[str, Any] = {
            "step": 0, "weights": None, "drawn": [0] * n, "losses": [None] * n,
        }  # fmt: skip
        self._next = dict(self._state)
        self._seen = np.zeros((2, n))
        self._round: list[Rows] = []

    def batch(self, step: int) -> Rows:
        """Return the rows of a step; at the end of a round, ask the mixture and draw the next."""
        if step - self._state["step"] >= len(self._round):
            if self._round:
                self._next["losses"] = self._recent()
                self._state = {**self._next, "step": step, "weights": None}
                self._seen[:] = 0
            self._draw()
        rows: Rows = self._round[step - self._state["step"]]
        return rows

    def observe(self, rows: Rows, nll: Float[np.ndarray, " n"]) -> None:
        """Add up the losses of each source."""
        np.add.at(self._seen[0], self._source_of[rows], nll)
        np.add.at(self._seen[1], self._source_of[rows], self._n_targets[rows])

    def state(self) -> dict[str, Any]:
        """Return the round and what was seen in it."""
        return {**self._state, "seen": self._seen.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Draw the round of a state again."""
        self._state = {name: value for name, value in state.items() if name != "seen"}
        self._seen = np.array(state["seen"])
        self._draw()

    def _recent(self) -> list[float | None]:
        sums, counts = self._seen
        return [
            float(sums[i] / counts[i]) if counts[i] else self._state["losses"][i]
            for i in range(len(self._sources))
        ]

    def _draw(self) -> None:
        if self._state["weights"] is None:
            self._state["weights"] = self._ask()
        drawn = list(self._state["drawn"])
        members = []
        for number, weight in enumerate(self._state["weights"]):
            taken = self._take(number, drawn[number], weight * self._every * self._batch_tokens)
            drawn[number] += len(taken)
            members.append(taken)
        rng = np.random.default_rng([self._seed, ROUND, self._state["step"]])
        self._round = plan_epoch(self._lengths, np.concatenate(members), self._batch_tokens, rng)
        self._next = {**self._state, "drawn": drawn}

    def _ask(self) -> list[float]:
        losses = {
            source: math.nan if loss is None else loss
            for source, loss in zip(self._sources, self._state["losses"], strict=True)
        }
        answer = self._mixture.weights(self._state["step"], losses)
        weights = np.array([answer.get(source, 0.0) for source in self._sources], dtype=float)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ConfigError(
                f"mixture {self._mixture.name!r} gave the weights {dict(answer)}; "
                "they must be finite, not negative and not all 0"
            )
        normalised: list[float] = (weights / weights.sum()).tolist()
        return normalised

    def _take(self, source: int, start: int, n_tokens: float) -> Rows:
        """Return rows of a source from its place ``start`` on, at most ``n_tokens`` tokens of them."""
        members = np.flatnonzero(self._source_of == source)
        taken: list[Rows] = []
        left = int(n_tokens)
        while left > 0:
            number, offset = divmod(start, len(members))
            rng = np.random.default_rng([self._seed, DRAW, source, number])
            rest = rng.permutation(members)[offset:]
            kept = keep_within_tokens(self._lengths, rest, left)
            taken.append(kept)
            start += len(kept)
            left -= int(self._lengths[kept].sum())
            if len(kept) < len(rest):
                break
        drawn: Rows = np.concatenate([members[:0], *taken])
        return drawn


def _n_steps(n_tokens: int, config: TrainConfig) -> int:
    length = config.length
    if length.max_steps is not None:
        return length.max_steps
    total = length.max_tokens or n_tokens * (length.epochs or 1)
    return total // config.data.batch_tokens
