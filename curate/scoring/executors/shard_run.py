"""What a worker measures of one shard: kept in its parts, in the store and in the log."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from curate.models.room import cards_of
from curate.store.records import utc_now

PASS_TOKENS: Final = "pass_tokens"  # what a pass says it ran, for all its score sets together
PADDING_TOKENS: Final = "padding_tokens"
EARLIER_S: Final = (
    "earlier_s"  # and the seconds that other runs of the shard took for what it took over
)
_STATUS: Final = Path("/proc/self/status")
_KIB: Final = 1024


@final
@dataclass(frozen=True, slots=True)
class ShardRun:
    """One shard's way through one pass.

    Parameters
    ----------
    worker
        ``host-pid`` of the process that ran it.
    device
        Where the model ran.
    finished_at
        When, UTC.
    seconds
        On the clock, of all who worked on it, without loading the pass.
    tokens
        Run through the model, once for all scorers that shared the pass.
    padding
        Share of padding among what the model ran, in [0, 1); None where nothing is padded.
    n_retries
        Runs of this shard that ended with a dead worker before this one.
    peak_mib
        The most memory that the worker has held resident until then.
    device_peak_mib
        The same of the GPU's memory, of several of the fullest; None on a CPU.
    """

    worker: str
    device: str
    finished_at: str
    seconds: float
    tokens: int
    padding: float | None
    n_retries: int
    peak_mib: float
    device_peak_mib: float | None

    @classmethod
    def of(
        cls, facts: Mapping[str, Any], seconds: float, n_retries: int, device: str
    ) -> "ShardRun":
        """Return what there is to say in the worker, at the end of a run; ``facts`` are the pass's."""
        from curate.store.parts import owner

        tokens = int(facts.get(PASS_TOKENS, facts.get("tokens", 0)))
        padding = facts.get(PADDING_TOKENS)
        return cls(
            owner(),
            str(facts.get("device", device)),
            utc_now(),
            round(seconds + float(facts.get(EARLIER_S, 0.0)), 4),
            tokens,
            None if padding is None else round(padding / max(padding + tokens, 1), 4),
            n_retries,
            round(peak_bytes() / _KIB**2, 1),
            _device_peak_mib(device),
        )

    @property
    def tokens_per_s(self) -> float:
        """Tokens by seconds."""
        return round(self.tokens / max(self.seconds, 1e-9), 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as a part keeps them."""
        return {**asdict(self), "tokens_per_s": self.tokens_per_s}


def peak_bytes() -> int:
    """Return the most memory that this process has held resident.

    On Linux from the kernel's account of this program alone: ``ru_maxrss`` of a child starts at what
    its parent held when it forked.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    unit = 1 if sys.platform == "darwin" else _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_peak_mib(device: str) -> float | None:
    if not device.startswith("cuda") or "torch" not in sys.modules:
        return None
    import torch

    cards = cards_of(device)
    if int(cards[0].partition(":")[2] or 0) >= torch.cuda.device_count():
        cards = ("cuda:0",)  # a worker of vLLM sees its own card alone
    return round(max(map(torch.cuda.max_memory_allocated, cards)) / _KIB**2, 1)
