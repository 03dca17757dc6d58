"""The line about vLLM: its ``prompt_logprobs`` and our pass, over eight answers to each prompt."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from curate.models.load import LoadedModel
from curate.models.passes.packing import packing_flaw
from curate.models.passes.sharing import sharing_flaw
from curate.models.passes.vllm_forward import (
    GPU_MEMORY_UTILIZATION,
    IN_PROCESS,
    VllmForward,
    VllmModel,
    start_engine,
)
from curate.models.text.render import Rendered
from curate.scorers.perplexity import Perplexity
from jobs.bench.gpu.bench import Bench, Measurement
from jobs.bench.gpu.prefixes import TOKENS, answers_to_prompts
from jobs.bench.gpu.shapes import LONGEST
from jobs.bench.gpu.ways import our_pass, planned, reduced

LINE: Final = "vllm 1.5B"
VLLM: Final = "vLLM: prompt_logprobs"
SCORERS: Final = (Perplexity(ppl_mode="conditional"),)


def against_vllm(bench: Bench) -> Iterator[Measurement]:
    """Compare log-probabilities by our pass and by vLLM, on the same rows and weights."""
    if find_spec("vllm") is None:
        yield Measurement(LINE, VLLM, {}, "not measured: vllm is not installed")
        return
    shape = bench.shape("1.5B")
    whole, model = bench.model("1.5B")
    rows = answers_to_prompts(shape, max(2, shape.n_rows // 16))
    shared, packed = sharing_flaw(model) is None, packing_flaw(model) is None
    ours = our_pass(model, rows, SCORERS, TOKENS, packed=packed, shared=shared)
    batches = planned(rows, TOKENS, packed=packed, shared=shared)
    in_order = [row for batch in batches for row in batch]
    wanted, measured = _timed(bench, rows, ours, "ours: shared" if shared else "ours")
    yield measured
    with TemporaryDirectory() as folder:
        whole.save_pretrained(folder)
        theirs = reduced(_engine(model, folder, bench), [in_order], SCORERS)
        found, measured = _timed(bench, rows, theirs, VLLM)
    apart = np.abs(np.log([a["ppl"] for a in wanted]) - np.log([b["ppl"] for b in found])).max()
    measured.values["largest difference"] = float(apart)
    measured.note += (
        f"; all in one call, gpu_memory_utilization {GPU_MEMORY_UTILIZATION}; the difference is that of a "
        "mean log-probability"
    )
    yield measured


def _engine(model: LoadedModel, folder: str, bench: Bench) -> VllmForward:
    os.environ.setdefault(IN_PROCESS, "0")
    engine = start_engine(model.resolved.name, folder, bench.dtype, LONGEST)
    return VllmForward(
        VllmModel(model.resolved, model.tokenizer, bench.device, bench.dtype, engine)
    )


def _timed(
    bench: Bench, rows: list[Rendered], run: Any, variant: str
) -> tuple[list[dict[str, Any]], Measurement]:
    found: list[dict[str, Any]] = run()  # not counted
    bench.free()
    seconds, memory = bench.seconds(run)
    tokens = sum(len(row.ids) for row in rows)
    values = {
        "tokens/s": tokens / seconds, "rows/s": len(rows) / seconds,
        "seconds": seconds, "peak GiB": memory,
    }  # fmt: skip
    return found, Measurement(LINE, variant, values, f"{len(rows)} rows, {tokens} tokens")
