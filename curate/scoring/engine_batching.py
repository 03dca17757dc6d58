"""How the rows of a shard go to an engine of vLLM, which cuts them into steps of its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from curate.models.batch import plan_batches
from curate.models.passes.vllm_forward import (
    GPU_MEMORY_UTILIZATION,
    STEP_TOKENS,
    VllmForward,
    VllmModel,
)
from curate.scoring.batching import Batches, lists

if TYPE_CHECKING:
    from curate.models.text.render import Rendered


@final
class EngineBatching:
    """Does for an engine what `Batching` does for a loaded model; no row shares what it begins with."""

    unshared_because: ClassVar[str] = (
        "vLLM computes each prompt whole to give its log-probabilities"
    )
    n_split: ClassVar[int] = 0

    def __init__(self, model: VllmModel, batch_tokens: int) -> None:
        self.model = model
        self.batch_tokens = batch_tokens
        self.forward = VllmForward(model)

    def plan(self, rows: "Sequence[Rendered | str]", ids: Sequence[str]) -> Batches:
        """Cut rows into what is handed over at once, those that could not be rendered left out."""
        lengths = np.array([0 if isinstance(row, str) else len(row.ids) for row in rows])
        plan = plan_batches(lengths, ids, self.batch_tokens, packed=True)
        return Batches(self.forward, lists(plan), int(lengths.sum()))

    def facts(self) -> dict[str, Any]:
        """Return what to record of a part that was run."""
        return {
            "device": self.model.device,
            "backend": f"vLLM {self.model.version}",
            "gpu_memory_utilization": GPU_MEMORY_UTILIZATION,
            "step_tokens": STEP_TOKENS,
        }
