"""Several answers to each prompt: what is saved by computing the prompt once."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts import Rendering
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.kernel import AGREEMENT, DTYPE, SOLUTIONS, Ours, largest_difference, load
from jobs.bench.paired import THREADS, fixed_threads, interleave, listed

if TYPE_CHECKING:
    from curate.models.text.render import Rendered

PIECE: Final = 64  # rows that are planned together, so that both sides meet the same moments
TEMPLATE: Final = "grape"


def shared_prefix(bench: Bench) -> Figure:
    """Likelihoods of all answers to a prompt, with the prompt computed once and for each answer."""
    from curate.models.batch import CPU_BATCH_TOKENS, plan_batches
    from curate.models.passes.forward import Forward
    from curate.models.passes.prefixes import plan_shared
    from curate.models.text.render import Renderer
    from curate.scorers.likelihood import Likelihood

    goal = Goal(">=", 0.8, "of it")
    with fixed_threads():
        forward = load(bench.inputs.model())
        model = forward.model
        alone = Ours.of(forward, (Likelihood(template=TEMPLATE),))
        together = Ours.of(Forward(model, shared=True), alone.scorers)
        renderer = Renderer(model.tokenizer, model.resolved.max_length)
        examples = bench.inputs.answers(SOLUTIONS, bench.sizes.kernel)
        rendered = renderer.render(examples, Rendering(TEMPLATE))
        rows = [row for row in rendered if not isinstance(row, str)]
        work = [rows[start : start + PIECE] for start in range(0, len(rows), PIECE)]

        def ids(piece: "Sequence[Rendered]") -> list[str]:
            return [f"{number:08x}" for number in range(len(piece))]

        def on_their_own(piece: "Sequence[Rendered]") -> list[dict[str, Any]]:
            lengths = np.array([len(row.ids) for row in piece])
            return _in_batches(alone, piece, plan_batches(lengths, ids(piece), CPU_BATCH_TOKENS))

        def shared(piece: "Sequence[Rendered]") -> list[dict[str, Any]]:
            plan = plan_shared(piece, ids(piece), CPU_BATCH_TOKENS)
            return _in_batches(together, piece, plan.batches)

        plans = [plan_shared(piece, ids(piece), CPU_BATCH_TOKENS) for piece in work]
        apart = max(largest_difference(shared(piece), on_their_own(piece)) for piece in work)
        times = interleave(bench, shared, on_their_own, work, bench.sizes.runs)
    tokens = sum(plan.tokens for plan in plans)
    saved = sum(plan.saved for plan in plans) / tokens
    shares = [(1 - cost) / saved if saved else 0.0 for cost in times.costs]
    agreed = apart <= AGREEMENT
    reference = (
        "share of the time that is saved against padded batches of as many tokens, by the share of the "
        "tokens; planning included, and there is no padding either"
    )
    detail = (
        f"{listed(shares)}; {saved:.1%} of the tokens need not run, {listed(times.speedups)} times the speed; "
        f"{times.rates(tokens)}; largest difference of a score {apart:.1e}"
        f"{'' if agreed else ', which is too much for a comparison'}; {len(rows)} rows, {tokens / len(rows):.0f} "
        f"tokens a row, template {TEMPLATE}, {DTYPE}, {THREADS} thread"
    )
    return judged("shared-prefix", statistics.median(shares), goal, reference, detail, also=agreed)


def _in_batches(
    ours: Ours, rows: "Sequence[Rendered]", batches: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """Return the scores of some rows, in their order."""
    found: dict[int, dict[str, Any]] = {}
    for batch in batches:
        numbers = batch.tolist()
        found |= dict(zip(numbers, ours.run([rows[n] for n in numbers]), strict=True))
    return [found[number] for number in range(len(rows))]
