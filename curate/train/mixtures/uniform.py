"""The data as it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from curate.contracts import Mixture
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Uniform(Mixture):
    """Every row once an epoch, so that sources count in proportion to their size. The default."""

    name: ClassVar[str] = "uniform"

    @property
    def every(self) -> int | None:
        """Never."""
        return None

    def weights(self, step: int, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Return equal weights."""
        return dict.fromkeys(losses, 1.0)
