"""How often each source is drawn. Add one by subclassing `Mixture`; the loop does not change."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from curate.errors import ConfigError


class Mixture(ABC):
    """Config of a schedule over sources, as a frozen dataclass; stateless.

    ``every``: steps after which the weights are asked for again; None: never, then every row of
    the data is seen once an epoch.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def every(self) -> int | None:
        """Steps between two calls of `weights`."""

    @abstractmethod
    def weights(self, step: int, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Return the share of the tokens each source gets from this step on.

        Parameters
        ----------
        step
            Optimiser steps done.
        losses
            Recent mean NLL in nats per source; NaN for a source not seen yet.

        Returns
        -------
        Mapping[str, float]
            Not negative, not all 0; they are normalised to a sum of 1.
        """


@final
@dataclass(frozen=True)
class Uniform(Mixture):
    """Every row is equally likely: sources in proportion to their size, each row once an epoch."""

    name: ClassVar[str] = "uniform"

    @property
    def every(self) -> int | None:
        """Never."""
        return None

    def weights(self, step: int, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Return equal weights."""
        return dict.fromkeys(losses, 1.0)


@final
@dataclass(frozen=True)
class LossProportional(Mixture):
    """Draw each source in proportion to its recent loss, so that what is not learned yet comes up more.

    A source not seen yet counts as the mean of the others.

    Parameters
    ----------
    period
        Steps between two updates.
    power
        Exponent on the losses; 0 gives every source the same share.
    """

    name: ClassVar[str] = "loss-proportional"
    period: int = 20
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ConfigError(f"loss-proportional.period must be at least 1, got {self.period}")

    @property
    def every(self) -> int | None:
        """The period."""
        return self.period

    def weights(self, step: int, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Return the losses to the power."""
        seen = [loss for loss in losses.values() if not math.isnan(loss)]
        mean = sum(seen) / len(seen) if seen else 1.0
        return {
            source: (mean if math.isnan(loss) else loss) ** self.power
            for source, loss in losses.items()
        }
