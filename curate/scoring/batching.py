"""How the rows of a shard run on a loaded model: in which batches, padded, end to end, or sharing prefixes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.models.batch import padded_tokens, plan_batches
from curate.models.memory import Limit
from curate.models.passes.prefixes import plan_shared
from curate.scoring.batch_sizes import BatchSizes
from curate.scoring.executors.worker import PREFIXES

if TYPE_CHECKING:
    from curate.models.load import LoadedModel
    from curate.models.passes.forward import Forward
    from curate.models.passes.vllm_forward import VllmForward
    from curate.models.text.render import Rendered

SHARED_FACT: Final = (
    "n_shared"  # tokens of a part that were not computed, as other rows begin with them
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """Rows of each batch, and what runs them.

    ``tokens`` are those of all rows, of which ``n_shared`` need not run; ``padding`` runs beside them.
    """

    forward: "Forward | VllmForward"
    rows: list[list[int]]
    tokens: int
    n_shared: int = 0
    padding: int = 0


@final
class Batching:
    """Cuts rows into batches for a loaded model.

    Parameters
    ----------
    model
        As loaded.
    batch_tokens
        Budget of a batch in tokens.
    share
        Whether rows that begin alike compute that once, where the model can and it pays.
    alone_tokens
        On a CPU, the budget of a batch whose rows share nothing; None if it is ``batch_tokens``.
    """

    def __init__(
        self,
        model: "LoadedModel",
        batch_tokens: int,
        *,
        share: bool,
        alone_tokens: int | None = None,
    ) -> None:
        from curate.models.passes.forward import Forward
        from curate.models.passes.packing import FLASH_DTYPES, packing_flaw

        self.model = model
        self.batch_tokens = batch_tokens
        self.alone_tokens = batch_tokens if self.is_cuda else alone_tokens or batch_tokens
        self.share = share
        self.padded_because = "rows are padded on a CPU"
        if self.is_cuda:
            no_kernel = (
                None if model.head.weight.dtype in FLASH_DTYPES else f"{model.dtype} has none"
            )
            self.padded_because = no_kernel or packing_flaw(model) or ""
        packed = not self.padded_because
        self.forward = Forward(
            model, packed=packed, limit=self._limit(_tokens if packed else _padded)
        )
        self._sharing = Forward(model, shared=True, limit=self._limit(_tokens, "_shared"))
        self._refused = False

    def _limit(self, size: "Callable[[Sequence[Rendered]], int]", kind: str = "") -> "Limit | None":
        """Return what is known on this machine not to fit on the model's cards; it remembers more."""
        if not self.is_cuda:
            return None
        known = BatchSizes.of(self.model.resolved, self.model.dtype, self.model.place)
        if known is None:
            return Limit(size)
        return Limit(size, known.too_many(kind), partial(known.failed, kind))

    @property
    def is_cuda(self) -> bool:
        """Whether the model is on a GPU."""
        return self.model.device.startswith("cuda")

    @cached_property
    def unshared_because(self) -> str:
        """Why this model cannot share prefixes; empty if it can. Found out when it is first asked."""
        from curate.models.passes.sharing import sharing_flaw

        if self.is_cuda and self.padded_because:
            return self.padded_because
        return sharing_flaw(self.model) or ""

    @property
    def refused(self) -> str:
        """Why prefixes were not shared though it would have paid; empty if they were, or it never did."""
        return self.unshared_because if self._refused else ""

    @property
    def n_split(self) -> int:
        """Rows of batches that did not fit in memory and were halved."""
        return self.forward.n_split + self._sharing.n_split

    def plan(self, rows: "Sequence[Rendered | str]", ids: Sequence[str]) -> Batches:
        """Cut rows into batches, those that could not be rendered left out.

        A pure function of the rows, their ids, the budget and what the model can do.
        """
        if self.share:
            shared = plan_shared(rows, ids, self.batch_tokens)
            if shared.pays and not self.unshared_because:
                return Batches(self._sharing, lists(shared.batches), shared.tokens, shared.saved)
            self._refused |= shared.pays
        lengths = np.array([0 if isinstance(row, str) else len(row.ids) for row in rows])
        plan = plan_batches(lengths, ids, self.alone_tokens, packed=self.forward.packed)
        tokens = int(lengths.sum())
        padding = 0 if self.forward.packed else padded_tokens(lengths, plan) - tokens
        return Batches(self.forward, lists(plan), tokens, padding=padding)

    def facts(self) -> dict[str, Any]:
        """Return what to record of a part that was run."""
        facts = {"device": self.model.place}
        if self.forward.is_queued:
            facts["rows"] = f"padded: {self.padded_because}" if self.padded_because else "packed"
        if self.refused:
            facts[PREFIXES] = (
                "rows begin alike, but what they begin with runs in each, because this model cannot share it: "
                f"{self.refused}"
            )
        return facts


def _tokens(rows: "Sequence[Rendered]") -> int:
    return sum(len(row.ids) for row in rows)


def _padded(rows: "Sequence[Rendered]") -> int:
    lengths = [b - a for row in rows for a, b in row.edges]
    return len(lengths) * max(lengths)


def lists(batches: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the rows of each batch as plain numbers."""
    return [batch.tolist() for batch in batches]
