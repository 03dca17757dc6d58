"""What scoring an example costs, for a plan."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens a model reads or writes for one example, at most, and requests sent to a server."""

    tokens: int = 0
    requests: int = 0
