"""What a step took besides training: tokens that ran forward, seconds, and operations."""

import time
from dataclasses import dataclass, field
from typing import Any, Final, final

FORWARD: Final = 2  # floating-point operations per parameter and token


@final
@dataclass
class Spent:
    """Counts the tokens that models run forward, from now on."""

    tokens: int = 0
    flops: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def add(self, tokens: int, n_parameters: int | None) -> None:
        """Add a pass of some tokens through a model of so many parameters, None if not known."""
        self.tokens += tokens
        self.flops += float(FORWARD * (n_parameters or 0) * tokens)

    def facts(self) -> dict[str, Any]:
        """Return tokens, seconds and flops (an estimate) so far."""
        seconds = time.perf_counter() - self.began
        return {"tokens": self.tokens, "seconds": seconds, "flops": self.flops}
