"""By how much a model's forward pass is faster in bfloat16 than in float32 on this processor."""

import time
from typing import TYPE_CHECKING, Any, Final

from curate.models.load import ResolvedModel, load_causal

if TYPE_CHECKING:
    from torch import Tensor

TOKENS: Final = (
    512  # of the timed batch, for models of up to so many parameters; fewer for larger ones
)
_AS_MANY_PARAMETERS: Final = 200_000_000
_LEAST_TOKENS: Final = 64
_ROW: Final = 128  # tokens
_RUNS: Final = 2


def bfloat16_speedup(model: ResolvedModel) -> float:
    """Load a model, and return the time of a batch in float32 by that in bfloat16, on one thread.

    Takes the time of six batches of 512 tokens, or of fewer for models beyond 200 million
    parameters, and the memory of the weights in float32. An adapter is left out.
    """
    import torch

    loaded = load_causal(model.name, model.path, None, "cpu", "bfloat16")
    n_parameters = max(1, model.n_parameters or 1)
    n_tokens = max(_LEAST_TOKENS, min(TOKENS, TOKENS * _AS_MANY_PARAMETERS // n_parameters))
    row = min(n_tokens, _ROW)
    ids = torch.arange(n_tokens // row * row).reshape(-1, row) * 37
    ids %= loaded.get_input_embeddings().weight.shape[0]
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as each worker on a CPU has
    try:
        narrow = _seconds(loaded.base_model, ids)
        return _seconds(loaded.base_model.float(), ids) / narrow
    finally:
        torch.set_num_threads(before)


def _seconds(backbone: Any, ids: "Tensor") -> float:
    """Return the least processor seconds of a batch, after one that is not timed."""
    import torch

    spent = []
    with torch.inference_mode():
        for _ in range(1 + _RUNS):
            began = time.thread_time()  # what other processes take does not count
            backbone(input_ids=ids, use_cache=False)
            spent.append(time.thread_time() - began)
    return min(spent[1:])
