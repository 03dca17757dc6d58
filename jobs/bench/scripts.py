"""Figures of scoring beside the loops people write: sorted with nothing to spare, padded, and a row at a time."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.kernel import (
    AGREEMENT,
    POOL,
    TEMPLATE,
    Ours,
    Planned,
    bare_model,
    largest_difference,
    load,
    padded,
    plan,
)
from jobs.bench.paired import fixed_threads, interleave, listed

if TYPE_CHECKING:
    from curate.models.text.render import Rendered

Rows = Sequence["Rendered"]
Script = Callable[[Any, Planned], list[dict[str, Any]]]
SCORES: Final = "log-probability and entropy of each row"


def sorted_loop(bench: Bench) -> Figure:
    """One pass, against a loop over its own batches that computes only the logits it needs."""
    what = "batches of the pass itself, logits of the responses alone"
    return _against(bench, "score-sorted", Goal(">=", 0.95, "x"), what, _sorted)


def padded_by_four(bench: Bench) -> Figure:
    """One pass, against a script of padded batches of 4."""
    return _against(bench, "score-padded-4", Goal(">=", 1.5, "x"), _padded_words(4), _script(4))


def padded_by_eight(bench: Bench) -> Figure:
    """One pass, against a script of padded batches of 8."""
    return _against(bench, "score-padded-8", Goal(">=", 2.0, "x"), _padded_words(8), _script(8))


def one_row(bench: Bench) -> Figure:
    """One pass, against a script of a row at a time."""
    what = "a row at a time, full logits"
    return _against(bench, "score-one-row", Goal(">=", 1.0, "x"), what, _script(1))


def _padded_words(size: int) -> str:
    return f"padded batches of {size} in the order of the rows, full logits"


def _against(bench: Bench, name: str, goal: Goal, what: str, script: Script) -> Figure:
    import torch

    from curate.scorers.likelihood import Likelihood

    folder = bench.inputs.model()
    with fixed_threads(), torch.inference_mode():
        forward = load(folder)
        planned = plan(forward, bench.inputs.examples(POOL, bench.sizes.loops))
        ours = Ours.of(forward, (Likelihood(template=TEMPLATE),))
        model = bare_model(folder)

        def one_pass(of: Planned) -> list[dict[str, Any]]:
            return _in_order(of, ours.run)

        def loop(of: Planned) -> list[dict[str, Any]]:
            return script(model, of)

        apart = largest_difference(one_pass(planned), loop(planned))
        times = interleave(bench, one_pass, loop, [planned], bench.sizes.runs)
    agreed = apart <= AGREEMENT
    reference = f"tokens/s of {SCORES} in one pass, by those of a loop: {what}"
    detail = (
        f"{listed(times.speedups, 3)}; {times.rates(planned.tokens)}; largest difference of a score {apart:.1e}"
        f"{'' if agreed else ', which is too much for a comparison'}; {planned}"
    )
    return judged(name, statistics.median(times.speedups), goal, reference, detail, also=agreed)


def _script(size: int) -> Script:
    from jobs.bench.gpu.ways import script

    return lambda model, planned: script(model, planned.rows, size, "cpu")()


def _sorted(model: Any, planned: Planned) -> list[dict[str, Any]]:
    return _in_order(planned, lambda rows: list(_least(model, rows)))


def _least(model: Any, rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield the scores of one batch from the logits that they need and no others."""
    import torch

    hidden = model.model(input_ids=padded(rows), use_cache=False).last_hidden_state
    kept = [~row.is_end for row in rows]
    sizes = [int(keep.sum()) for keep in kept]
    owner = torch.from_numpy(np.repeat(np.arange(len(rows)), sizes))
    at, targets = (
        torch.from_numpy(
            np.concatenate([getattr(row, name)[keep] for row, keep in zip(rows, kept, strict=True)])
        ).long()
        for name in ("positions", "targets")
    )
    logp = torch.log_softmax(model.lm_head(hidden[owner, at]), dim=-1)
    chosen = logp.gather(1, targets[:, None])[:, 0]
    entropy = -(logp.exp() * logp).sum(dim=-1)
    cuts = np.cumsum(sizes)[:-1]
    of_rows = zip(np.split(chosen.numpy(), cuts), np.split(entropy.numpy(), cuts), strict=True)
    for p, h in of_rows:
        yield {"mean_logp": float(p.mean()), "mean_entropy": float(h.mean())}


def _in_order(
    planned: Planned, run: Callable[[Rows], Sequence[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the scores of all rows in their order, computed batch by batch."""
    found: dict[int, dict[str, Any]] = {}
    for batch in planned.batches:
        found |= dict(zip(batch, run([planned.rows[n] for n in batch]), strict=True))
    return [found[number] for number in range(len(planned.rows))]
