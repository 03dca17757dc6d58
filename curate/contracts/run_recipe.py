"""The training run a scorer measures: how its model is trained, and when the pool is measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final


@final
@dataclass(frozen=True, slots=True)
class RunRecipe:
    """How a scorer's model is trained, and at how many points of the run the pool is measured.

    Parameters
    ----------
    points
        Measurements, evenly spaced, the last one at the end of the run.
    source
        ``run``: the pool is measured at every point. ``train_log``: the losses of the training
        steps themselves, one per epoch, for the examples trained on; an approximation.
    share
        Share of the pool's examples to train on, in (0, 1]; all of them are measured.
    seed
        Seed for the share drawn, the order of the rows and everything else the run draws.
    settings
        Settings of `curate.train.config.TrainConfig` by dotted name, such as ``optimiser.lr``.
    """

    points: int
    source: Literal["run", "train_log"] = "run"
    share: float = 1.0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
