"""The line about rows that begin alike: eight answers to each prompt, computed on their own and shared."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from curate.models.passes.packing import packing_flaw
from curate.models.passes.prefixes import plan_shared
from curate.models.passes.sharing import sharing_flaw
from curate.models.text.render import Rendered
from jobs.bench.gpu.bench import Bench, Measurement
from jobs.bench.gpu.shapes import SEED, Shape, random_rows
from jobs.bench.gpu.ways import LIKELIHOOD, our_pass

LINE: Final = "prefixes 1.5B"
ANSWERS: Final = 8
TOKENS: Final = 32_768  # of a batch


def shared_prefixes(bench: Bench) -> Iterator[Measurement]:
    """Compare eight answers to each prompt with the prompt computed for each, and once."""
    shape = bench.shape("1.5B")
    _, model = bench.model("1.5B")
    rows = answers_to_prompts(shape, max(2, shape.n_rows // 16))
    packed = packing_flaw(model) is None
    flaw = sharing_flaw(model)
    if flaw is not None:
        yield Measurement(LINE, "shared", error=flaw)
    plan = plan_shared(rows, [f"{number:08x}" for number in range(len(rows))], TOKENS)
    share = plan.saved / plan.tokens
    for shared in (False, True) if flaw is None else (False,):
        run = our_pass(model, rows, LIKELIHOOD, TOKENS, packed=packed, shared=shared)
        bench.free()
        run()  # not counted
        seconds, memory = bench.seconds(run)
        values = {
            "tokens/s": plan.tokens / seconds, "rows/s": len(rows) / seconds,
            "seconds": seconds, "peak GiB": memory,
        }  # fmt: skip
        note = (
            f"{len(rows)} rows, {plan.tokens} tokens, of which {share:.1%} need not run if shared"
        )
        yield Measurement(LINE, "ours: shared" if shared else "ours: each row alone", values, note)


def answers_to_prompts(shape: Shape, n_prompts: int) -> list[Rendered]:
    """Return eight rows for each of some prompts, whose halves have the lengths of `random_rows`."""
    rng = np.random.default_rng(SEED)
    rows = []
    for asked in random_rows(shape, n_prompts):
        prompt = asked.ids[: int(asked.positions[0]) + 1]
        for size in rng.permutation(len(asked.targets) * 2 + 1)[:ANSWERS].tolist():
            said = rng.integers(0, shape.vocabulary, size + 1).astype(np.int32)
            positions = np.arange(len(prompt) - 1, len(prompt) + size, dtype=np.int32)
            is_end = np.zeros(size + 1, dtype=bool)
            is_end[-1] = size > 0
            ids = np.concatenate([prompt, said[:size]])
            rows.append(
                replace(
                    asked, ids=ids, positions=positions, targets=said, is_end=is_end, n_scored=size + 1
                )
            )  # fmt: skip
    return rows
