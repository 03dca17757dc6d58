"""Figures of the forward pass: against a bare model, with DONOD, and against the obvious loops."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import Example, ForwardScorer, Rendering, Stat
from curate.models.batch import CPU_ALONE_TOKENS, plan_batches
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.inputs import LARGE_VOCABULARY, SMALL_VOCABULARY
from jobs.bench.paired import THREADS, fixed_threads, interleave, listed

if TYPE_CHECKING:
    from torch import Tensor

    from curate.models.load import ResolvedModel
    from curate.models.passes.forward import Forward, Measured, PassRequest
    from curate.models.text.render import Rendered

POOL: Final = "ni_pool"
SOLUTIONS: Final = "math_gsm8k_solutions"
DTYPE: Final = "float32"
TEMPLATE: Final = "plain"
AGREEMENT: Final = 1e-4  # nats: what both sides compute must be the same number


@final
@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """Rows as the pass sees them, in its batches."""

    rows: "Sequence[Rendered]"
    batches: Sequence[Sequence[int]]

    @property
    def tokens(self) -> int:
        """Tokens fed to the model, padding not counted."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def scored(self) -> int:
        """Tokens scored: those of the responses."""
        return sum(len(row.targets) for row in self.rows)

    def __str__(self) -> str:
        n = len(self.rows)
        return (
            f"{n} rows, batches: {len(self.batches)}, {self.tokens / n:.0f} tokens a row, "
            f"{self.scored / n:.0f} of them scored, {DTYPE}, {THREADS} thread"
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """The forward kernel and reductions of some scorers, as a worker runs them."""

    forward: "Forward"
    scorers: tuple[ForwardScorer, ...]
    wants: "PassRequest"
    norm: float | None

    @classmethod
    def of(cls, forward: "Forward", scorers: tuple[ForwardScorer, ...]) -> "Ours":
        """Prepare a pass of some scorers on a loaded model."""
        from curate.models.passes.forward import PassRequest

        needs_norm = any(Stat.HEAD_GRAM in scorer.emits for scorer in scorers)
        norm = forward.model.head_weight_sq_norm if needs_norm else None
        return cls(forward, scorers, PassRequest.of(scorers), norm)

    def run(self, rows: "Sequence[Rendered]") -> list[dict[str, Any]]:
        """Return every column of every scorer for the rows of one batch."""
        return [self._reduce(found) for _, found in self.forward.run(rows, self.wants)]

    def _reduce(self, found: "Measured | None") -> dict[str, Any]:
        if found is None:
            raise MemoryError("a row of the benchmark does not fit in memory")
        columns: dict[str, Any] = {}
        for scorer in self.scorers:
            columns |= scorer.reduce({"full": found.stats(scorer, self.norm)})
        return columns


def small_vocabulary(bench: Bench) -> Figure:
    """Likelihood, entropy and embedding in one pass, against a bare model with full logits."""
    goal = Goal(">=", 0.95, "x")
    return _against_bare(bench, "one-pass-4k", goal, SMALL_VOCABULARY, bench.sizes.kernel)


def large_vocabulary(bench: Bench) -> Figure:
    """Compare as `small_vocabulary` does, where the head is most of the model."""
    goal = Goal(">=", 1.0, "x")
    return _against_bare(bench, "one-pass-32k", goal, LARGE_VOCABULARY, bench.sizes.large_kernel)


def _against_bare(bench: Bench, name: str, goal: Goal, vocabulary: int, n_rows: int) -> Figure:
    import torch

    folder = bench.inputs.model(vocabulary)
    with fixed_threads(), torch.inference_mode():
        forward = load(folder)
        planned = plan(forward, bench.inputs.examples(POOL, n_rows))
        ours = Ours.of(forward, _likelihood_and_embedding())
        model = bare_model(folder)

        def bare(rows: "Sequence[Rendered]") -> "Tensor":
            logits: Tensor = model(input_ids=padded(rows), use_cache=False).logits
            return logits

        work = [[planned.rows[n] for n in batch] for batch in planned.batches]
        times = interleave(bench, ours.run, bare, work, bench.sizes.runs)
    reference = (
        f"tokens/s of likelihood + entropy + embedding in one pass, by those of "
        f"model(input_ids, use_cache=False) with full logits, vocabulary {vocabulary:,}"
    )
    detail = f"{listed(times.speedups, 3)}; {times.rates(planned.tokens)}; {planned}"
    return judged(name, statistics.median(times.speedups), goal, reference, detail)


def with_donod(bench: Bench) -> Figure:
    """Add DONOD to the pass, at responses of about 100 tokens."""
    from curate.scorers.donod import DONOD

    goal = Goal("<=", 1.25, "x")
    with fixed_threads():
        forward = load(bench.inputs.model())
        planned = plan(forward, bench.inputs.examples(SOLUTIONS, bench.sizes.donod))
        scorers = _likelihood_and_embedding()
        alone = Ours.of(forward, scorers)
        together = Ours.of(forward, (*scorers, DONOD(template=TEMPLATE)))
        work = [[planned.rows[n] for n in batch] for batch in planned.batches]
        times = interleave(bench, together.run, alone.run, work, bench.sizes.runs)
    reference = "time of the pass with DONOD, by that of likelihood + entropy + embedding"
    detail = f"{listed(times.costs, 3)}; {times.rates(planned.tokens)}; {planned}"
    return judged("donod", statistics.median(times.costs), goal, reference, detail)


def against_loops(bench: Bench) -> Figure:
    """One pass, against one loop per score with a row at a time and full logits."""
    import torch

    goal = Goal(">=", 2.0, "x")
    folder = bench.inputs.model()
    with fixed_threads(), torch.inference_mode():
        forward = load(folder)
        planned = plan(forward, bench.inputs.examples(POOL, bench.sizes.loops))
        ours = Ours.of(forward, _likelihood_and_embedding())
        loops = Loops(bare_model(folder))
        work = [[planned.rows[n] for n in batch] for batch in planned.batches]
        apart = max(largest_difference(ours.run(rows), loops.run(rows)) for rows in work)
        times = interleave(bench, ours.run, loops.run, work, bench.sizes.runs)
    reference = (
        "time of three loops of one row at a time with full logits (log-probability, entropy, "
        "embedding), by that of one pass"
    )
    agreed = apart <= AGREEMENT
    detail = (
        f"{listed(times.speedups, 3)}; {times.rates(planned.tokens)}; largest difference of a score {apart:.1e}"
        f"{'' if agreed else ', which is too much for a comparison'}; {planned}"
    )
    return judged("loops", statistics.median(times.speedups), goal, reference, detail, also=agreed)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loops:
    """The three scores as papers' code computes them: each in a loop, a row at a time."""

    model: Any

    def run(self, rows: "Sequence[Rendered]") -> list[dict[str, Any]]:
        """Run the three loops over the rows, one after the other."""
        logp = [self._mean_logp(row) for row in rows]
        entropy = [self._mean_entropy(row) for row in rows]
        vectors = [self._mean_hidden(row) for row in rows]
        return [
            {"mean_logp": p, "mean_entropy": h, "vector": v}
            for p, h, v in zip(logp, entropy, vectors, strict=True)
        ]

    def _mean_logp(self, row: "Rendered") -> float:
        import torch

        logits = self.model(input_ids=padded([row]), use_cache=False).logits
        logp = torch.log_softmax(logits[0], dim=-1)
        positions, targets = _counted(row)
        return float(logp[positions, targets].mean())

    def _mean_entropy(self, row: "Rendered") -> float:
        import torch

        logits = self.model(input_ids=padded([row]), use_cache=False).logits
        logp = torch.log_softmax(logits[0], dim=-1)
        positions, _ = _counted(row)
        entropy = -(logp.exp() * logp).sum(dim=-1)
        return float(entropy[positions].mean())

    def _mean_hidden(self, row: "Rendered") -> Any:
        output = self.model(input_ids=padded([row]), use_cache=False, output_hidden_states=True)
        return output.hidden_states[-1][0].mean(dim=0).numpy()


def largest_difference(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> float:
    """Return by how much any score of two computations differs at most."""
    return max(
        float(np.abs(np.asarray(mine[name], float) - np.asarray(value, float)).max())
        for mine, other in zip(ours, theirs, strict=True)
        for name, value in other.items()
    )


def load(folder: Path) -> "Forward":
    """Load a model for the forward kernel, on the CPU."""
    from curate.models.load import load_model
    from curate.models.passes.forward import Forward

    return Forward(load_model(_resolved(folder), "cpu", DTYPE))


def bare_model(folder: Path, dtype: str = DTYPE) -> Any:
    """Load the same model as anybody would."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), trust_remote_code=False
    )
    return model.eval().requires_grad_(False)


def plan(
    forward: "Forward", examples: Sequence[Example], batch_tokens: int = CPU_ALONE_TOKENS
) -> Planned:
    """Render examples and cut them into the batches that a worker runs of rows which share nothing."""
    from curate.models.text.render import Renderer

    model = forward.model
    renderer = Renderer(model.tokenizer, model.resolved.max_length)
    rendered = renderer.render(examples, Rendering(TEMPLATE))
    rows = [row for row in rendered if not isinstance(row, str)]
    lengths = np.array([len(row.ids) for row in rows])
    ids = [f"{number:08x}" for number in range(len(rows))]
    batches = plan_batches(lengths, ids, batch_tokens)
    return Planned(rows, [batch.tolist() for batch in batches])


def padded(rows: "Sequence[Rendered]") -> "Tensor":
    """Return the token ids of some rows as one matrix, padded on the right."""
    import torch

    ids = np.zeros((len(rows), max(len(row.ids) for row in rows)), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
    return torch.from_numpy(ids)


def _likelihood_and_embedding() -> tuple[ForwardScorer, ...]:
    from curate.scorers.embedding import Embedding
    from curate.scorers.likelihood import Likelihood

    return Likelihood(template=TEMPLATE), Embedding(template=TEMPLATE)


def _counted(row: "Rendered") -> tuple[Any, Any]:
    import torch

    keep = ~row.is_end
    positions = torch.from_numpy(row.positions[keep].astype(np.int64))
    return positions, torch.from_numpy(row.targets[keep].astype(np.int64))


def _resolved(folder: Path) -> "ResolvedModel":
    from curate.models.load import resolve_model

    return resolve_model(str(folder))
