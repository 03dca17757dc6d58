"""What may watch a run from inside: asked after every step, part of every checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import numpy as np
from jaxtyping import Float

from curate.train.steps.batches import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from curate.contracts import Rendering
    from curate.models.load import ResolvedModel
    from curate.models.text.render import Renderer
    from curate.train.config import TrainConfig
    from curate.train.data import Prepared
    from curate.train.model import TrainedModel
    from curate.train.processes import Processes


@final
@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """What a recorder learns about the run it watches, before its first step.

    Parameters
    ----------
    config, identity
        Resolved settings, and what decides the weights.
    resolved, renderer, rendering
        Model, and how examples become tokens.
    prepared
        The training rows.
    n_steps
        Steps of the whole run.
    folder
        Output folder of the run; a recorder may keep unfinished work below it.
    """

    config: "TrainConfig"
    identity: dict[str, Any]
    resolved: "ResolvedModel"
    renderer: "Renderer"
    rendering: "Rendering"
    prepared: "Prepared"
    n_steps: int
    folder: Path


class Recorder(Protocol):
    """Watches a run: per-row losses of every step, and the model at the steps it asks for."""

    def begin(self, context: RunContext) -> None:
        """Get ready; raise `ConfigError` if this run cannot be recorded."""

    def is_stored(self) -> bool:
        """Return whether nothing is left to record of this run."""

    def observe(self, step: int, rows: Rows, losses: Float[np.ndarray, " n"]) -> None:
        """Take the mean NLL of the rows of a step, under the weights before it."""

    def is_due(self, step: int) -> bool:
        """Return whether `record` wants to be called after this step."""

    def record(self, step: int, model: "TrainedModel", processes: "Processes") -> int:
        """Measure with the weights after a step; return the tokens run."""

    def finish(self, processes: "Processes") -> str | None:
        """Store what was recorded; return the id of its score set."""

    def tensors(self) -> "dict[str, Tensor]":
        """Return what a resumed run needs, under names that start with ``recorder/``."""

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Take back what `tensors` returned, among other things."""


@final
class NoRecorder:
    """Records nothing."""

    def begin(self, context: RunContext) -> None:
        """Do nothing."""

    def is_stored(self) -> bool:
        """Nothing is ever left."""
        return True

    def observe(self, step: int, rows: Rows, losses: Float[np.ndarray, " n"]) -> None:
        """Ignore the losses."""

    def is_due(self, step: int) -> bool:
        """Never."""
        return False

    def record(self, step: int, model: "TrainedModel", processes: "Processes") -> int:
        """Measure nothing."""
        return 0

    def finish(self, processes: "Processes") -> str | None:
        """Store nothing."""
        return None

    def tensors(self) -> "dict[str, Tensor]":
        """Return nothing."""
        return {}

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Take nothing."""
