"""What is not learned yet comes up more often."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from curate.contracts import Mixture
from curate.errors import ConfigError
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class LossProportional(Mixture):
    """Draw each source in proportion to its recent loss, so that what is not learned comes up more.

    Source ``s`` gets the share ``L_s^power / sum_r L_r^power`` of the tokens of the next
    ``period`` steps, with ``L_s`` its mean NLL per response token over the last ``period`` steps.
    A source not seen yet counts as the mean of the others; where every loss is 0, all get the same.
    A small source is repeated, so one whose responses are noise is drawn more and more.

    A plain baseline of this library, from no paper.

    Parameters
    ----------
    period
        Steps between two updates, at least 1.
    power
        Exponent on the losses, at least 0; 0 gives every source the same share.
    """

    name: ClassVar[str] = "loss-proportional"
    period: int = 20
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ConfigError(
                f"loss-proportional.period must be at least 1, got {self.period}; "
                "pass --set mixture.period=20"
            )
        if not (math.isfinite(self.power) and self.power >= 0):
            raise ConfigError(
                f"loss-proportional.power must be a number of at least 0, got {self.power}; "
                "pass --set mixture.power=1"
            )

    @property
    def every(self) -> int | None:
        """The period."""
        return self.period

    def weights(self, step: int, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Return the losses to the power."""
        seen = [loss for loss in losses.values() if not math.isnan(loss)]
        mean = sum(seen) / len(seen) if seen else 1.0
        raised = {
            source: (mean if math.isnan(loss) else loss) ** self.power
            for source, loss in losses.items()
        }
        return raised if any(raised.values()) else dict.fromkeys(losses, 1.0)
