"""What a scoring run would do and cost: passes, tokens, padding, disk, and a measured time."""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.contracts import PoolScorer, RunScorer
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.scoring.cards import deal, lack_of, weights_mib, weights_of
from curate.scoring.chat_check import check_chat
from curate.scoring.counting import Counts, counter_of
from curate.scoring.executors.shard_run import PASS_TOKENS
from curate.scoring.options import ScoringOptions
from curate.scoring.passes import ForwardPass, WorkerPass
from curate.scoring.plan import Pass, plan_passes, unify
from curate.scoring.requests import ScoreRequest, in_waves, with_inputs
from curate.scoring.sizing import origins_of, with_batch_sizes
from curate.scoring.workload import n_workers
from curate.store.pool.input_values import with_rows

if TYPE_CHECKING:
    from curate.store import Shard, Store

MAX_SAMPLED: Final = 20_000  # examples tokenised for a plan
UNIFIED_TEMPLATE: Final = "plain"
ID_BYTES: Final = 40


@final
@dataclass(frozen=True, slots=True)
class PassPlan:
    """One pass: the scorers in it, and its tokens over the examples still to score.

    ``padding`` is the share of run tokens that is padding; ``exact`` is False when the figures are
    scaled up from a sample of the shards. ``rows_per_example`` is above 1 where a chat template
    rewrites history, so that turns run in contexts of their own. ``truncated`` and ``unscorable``
    count examples, ``reasons`` the unscorable ones by why they are. ``requests`` go to a server.
    ``shared`` of the tokens need not run, because other rows begin with them; ``unshared_because`` says
    why the model cannot do that, which is known once it was loaded to time a sample.
    ``batch_tokens`` run at once in a pass of a language model; ``batch_origin`` says where the number comes from,
    unless it is a constant or was given. ``dtype`` is that of its weights, and ``dtype_why`` why ``auto`` chose it.
    ``backend`` runs the model in place of our own pass.
    """

    name: str
    scorers: tuple[str, ...]
    model: str | None
    template: str
    segments: int
    paper_template: bool
    examples: int
    tokens: int
    padding: float
    truncated: int
    unscorable: int
    exact: bool
    rows_per_example: float = 1.0
    reasons: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    shared: int = 0
    unshared_because: str = ""
    batch_tokens: int | None = None
    batch_origin: str = ""
    dtype: str | None = None
    dtype_why: str = ""
    backend: str | None = None


@final
@dataclass(frozen=True, slots=True)
class PlanReport:
    """The plan of a scoring run, with a measured time where a sample was run."""

    passes: tuple[PassPlan, ...]
    pool_scorers: tuple[str, ...]
    n_reused: int
    disk_bytes: int
    weights_mib: float | None
    workers: int
    unified: str | None
    sample: Mapping[str, float] | None
    lacking: str | None = None
    over: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the document that `score --dry-run --json` prints."""
        tokens = sum(pass_plan.tokens for pass_plan in self.passes)
        shared = sum(pass_plan.shared for pass_plan in self.passes)
        sample = self.sample or {}
        speed = sample.get("tokens_per_s")
        return {
            "plan": {
                "passes": [
                    {
                        **asdict(pass_plan),
                        "pass": pass_plan.name,
                        "scorers": "+".join(pass_plan.scorers),
                    }
                    for pass_plan in self.passes
                ],
                "n_passes": len(self.passes),
                "pool_scorers": list(self.pool_scorers),
                "tokens": tokens,
                "shared": shared,
                "n_reused": self.n_reused,
                "disk_mib": round(self.disk_bytes / 2**20, 3),
                "weights_mib": self.weights_mib,
                "weights_lack": self.lacking,
                "weights_over": self.over or None,
                "workers": self.workers,
                "unified": self.unified,
                "measured_on": sample.get("n_examples"),
                "tokens_per_s": speed,
                "seconds": (tokens - shared) / speed / self.workers if speed else None,
            }
        }

    def raise_for_failures(self) -> None:
        """Do nothing: a plan scores nothing, so nothing failed."""


def plan(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    limit: int | None,
    progress: Progress,
) -> PlanReport:
    """Plan the passes that would run now; with ``limit``, time them on that many examples.

    Tokenises everything up to 20,000 examples, and a sample of shards beyond. Nothing is stored.
    """
    requests = with_batch_sizes(
        store, with_inputs(requests), options, progress, measure=limit is not None
    )
    origins = origins_of(store, requests, options)
    shards = store.shards()
    missing = _missing(store, requests, shards)
    passes = _passes(store, requests, missing)
    why = {request.key.set_id: request.dtype_why for request in requests}
    plans = tuple(
        replace(
            _plan_pass(f"{number}", pass_, _of_pass(pass_, missing), origins[pass_.set_ids[0]]),
            dtype_why=why[pass_.set_ids[0]],
        )
        for number, pass_ in enumerate(passes, 1)
    )
    check_chat(passes, [shard.path for shard in shards], progress)
    runs_weights = any(pass_.runs_weights for pass_ in passes)
    device = options.worker_device(runs_weights=runs_weights)
    work = [(pass_, [shard.path for shard in _of_pass(pass_, missing)]) for pass_ in passes]
    dealt = deal(weights_of(passes), device, options.cards_per_worker)
    dealt.check(options.asked_workers)
    workers = n_workers(work, device, options.asked_workers, dealt.n)
    sample = None
    if limit is not None and passes:
        progress.note(f"timing {counted(len(passes), 'pass', 'passes')} on {limit} examples")
        inputs = {r.key.set_id: r.key.inputs for r in requests if r.inputs}
        sample, refused = _measure(passes, missing, inputs, limit, dealt.devices(1)[0])
        plans = tuple(
            _unshared(plan, pass_, _of_pass(pass_, missing), refused[number])
            if plan.shared and refused.get(number) else plan
            for number, (plan, pass_) in enumerate(zip(plans, passes, strict=True))
        )  # fmt: skip
    return PlanReport(
        passes=plans,
        pool_scorers=tuple(r.alias for r in requests if isinstance(r.scorer, PoolScorer)),
        n_reused=sum(s.n_examples for s in shards) * len(requests)
        - sum(s.n_examples for lacking in missing.values() for s in lacking),
        disk_bytes=_disk(requests, missing),
        weights_mib=weights_mib(passes),
        lacking=lack_of(passes, dealt, options),
        over=dealt.describe(workers),
        workers=workers,
        unified=_unified(requests, passes, plans, missing, options),
        sample=sample,
    )


def run_plan(alias: str, scorer: RunScorer, scoring: ScoringOptions) -> str:
    """Say in one line what a scorer measured during training would do."""
    model = scoring.models.get(scorer.role or "proxy")
    if model is None:
        return f"{alias}: uses what is in the store; no model was given"
    if scoring.from_checkpoints is not None:
        return f"{alias}: measures the pool at every checkpoint in {scoring.from_checkpoints}"
    recipe = scorer.recipe()
    return (
        f"{alias}: trains {model} on {recipe.share:.0%} of the pool and measures the pool at "
        f"{recipe.points} points, unless that run is already stored"
    )


def _missing(
    store: "Store", requests: Sequence[ScoreRequest], shards: Sequence["Shard"]
) -> dict[str, list["Shard"]]:
    missing = {}
    for request in requests:
        made = store.find_score_set(request.key.set_id)
        missing[request.key.set_id] = (
            list(shards) if made is None else store.pending_shards(made, shards)[0]
        )
    return missing


def _passes(
    store: "Store", requests: Sequence[ScoreRequest], missing: Mapping[str, Sequence["Shard"]]
) -> list[Pass]:
    runs = {}
    for request in requests:
        made = store.find_score_set(request.key.set_id)
        if made is not None:
            runs[made.set_id] = made.run
    rows = [r for r in requests if not isinstance(r.scorer, PoolScorer) and missing[r.key.set_id]]
    return [pass_ for wave in in_waves(rows) for pass_ in plan_passes(wave, runs)]


def _of_pass(pass_: Pass, missing: Mapping[str, Sequence["Shard"]]) -> list["Shard"]:
    """Return the shards that at least one score set of a pass still needs, in order."""
    by_id = {s.shard_id: s for set_id in pass_.set_ids for s in missing[set_id]}
    return [by_id[shard_id] for shard_id in sorted(by_id)]


def _plan_pass(
    name: str, pass_: Pass, shards: Sequence["Shard"], batch_origin: str = ""
) -> PassPlan:
    n_examples = sum(shard.n_examples for shard in shards)
    sampled = _sample(shards, n_examples)
    n_sampled = sum(shard.n_examples for shard in sampled)
    counts = Counts()
    count = counter_of(pass_) if sampled else None
    if count is not None:
        for shard in sampled:
            counts.add(count(shard.path))
    scale = n_examples / n_sampled if n_sampled else 0.0
    return PassPlan(
        name=name,
        scorers=tuple(ride.alias for ride in pass_.rides),
        model=pass_.model.name if pass_.model else None,
        template=pass_.template,
        segments=len(pass_.renderings),
        paper_template=all(ride.paper_template for ride in pass_.rides),
        examples=n_examples,
        tokens=round(counts.tokens * scale),
        padding=round(1 - counts.tokens / counts.padded, 4) if counts.padded else 0.0,
        truncated=round(counts.truncated * scale),
        unscorable=round(counts.failed.total() * scale),
        exact=len(sampled) == len(shards),
        rows_per_example=round(counts.rows / counts.rendered, 2) if counts.rendered else 1.0,
        reasons={reason: round(n * scale) for reason, n in counts.failed.most_common()},
        requests=round(counts.requests * scale),
        shared=round(counts.shared * scale),
        batch_tokens=pass_.batch_tokens if pass_.is_forward else None,
        batch_origin=batch_origin,
        dtype=pass_.dtype if pass_.is_forward else None,
        backend=pass_.backend,
    )


def _unshared(plan: PassPlan, pass_: Pass, shards: Sequence["Shard"], why: str) -> PassPlan:
    """Plan a pass again, of a model that cannot share what rows begin with."""
    alone = _plan_pass(plan.name, replace(pass_, share_prefixes=False), shards, plan.batch_origin)
    return replace(alone, unshared_because=why, dtype_why=plan.dtype_why)


def _sample(shards: Sequence["Shard"], n_examples: int) -> list["Shard"]:
    """Return every shard of a small pool, or evenly spaced ones of a large one."""
    if n_examples <= MAX_SAMPLED:
        return list(shards)
    count = max(1, math.floor(len(shards) * MAX_SAMPLED / n_examples))
    return [shards[i * len(shards) // count] for i in range(count)]


def _unified(
    requests: Sequence[ScoreRequest],
    passes: Sequence[Pass],
    plans: Sequence[PassPlan],
    missing: Mapping[str, Sequence["Shard"]],
    options: ScoringOptions,
) -> str | None:
    """Compare with one template for all; None when there is nothing to save."""
    forward = [plan for pass_, plan in zip(passes, plans, strict=True) if pass_.is_forward]
    if options.template != "method" or len(forward) < 2:
        return None
    wanted = [r for r in requests if missing[r.key.set_id] and not isinstance(r.scorer, PoolScorer)]
    together = [p for p in plan_passes(unify(wanted, UNIFIED_TEMPLATE)) if p.is_forward]
    tokens = sum(_plan_pass("", pass_, _of_pass(pass_, missing)).tokens for pass_ in together)
    now = sum(plan.tokens for plan in forward)
    return (
        f"--template method: {len(forward)} passes, {now:,} tokens; --template {UNIFIED_TEMPLATE}: "
        f"{len(together)} pass, {tokens:,} tokens ({1 - tokens / max(now, 1):.0%} fewer, but not the "
        "papers' own templates)"
    )


def _measure(
    passes: Sequence[Pass],
    missing: Mapping[str, Sequence["Shard"]],
    inputs: Mapping[str, Mapping[str, str]],
    limit: int,
    device: str,
) -> tuple[dict[str, float], dict[int, str]]:
    """Run every pass on an evenly spaced sample; return tokens per second of one worker.

    With it, by pass, why a model cannot share what rows begin with, empty if it can.

    ``inputs`` names, by score set, the sets a derived scorer reads; it is timed on the results of
    earlier passes over the same sample, and left out if they had nothing to do.
    """
    tokens = n_examples = 0
    seconds = 0.0
    made: dict[tuple[str, ...], Path] = {}
    refused: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, pass_ in enumerate(passes):
            shards = _of_pass(pass_, missing)
            ids = [shard.shard_id for shard in shards]
            path = Path(folder) / "sample.parquet"
            columns = pass_.rides[0].scorer.row_columns()
            n_examples = max(n_examples, _write_sample(shards, limit, path, columns))
            read = {a: made.get((i, *ids)) for a, i in inputs.get(pass_.set_ids[0], {}).items()}
            if None in read.values():
                continue
            runner = WorkerPass(pass_).load(device)
            began = time.perf_counter()
            parts = runner.run(path, {a: part for a, part in read.items() if part is not None})
            seconds += time.perf_counter() - began
            if isinstance(runner, ForwardPass):
                tokens += int(next(facts for _, facts in parts.values())[PASS_TOKENS])
                refused[number] = runner.batching.unshared_because
            elif (count := counter_of(pass_)) is not None:
                tokens += count(path).tokens
            for set_id, (table, _) in parts.items():
                made[set_id, *ids] = Path(folder) / f"{set_id}.parquet"
                pq.write_table(table, made[set_id, *ids])
    speed = tokens / seconds if seconds else 0.0
    return {"n_examples": n_examples, "tokens_per_s": speed}, refused


def _write_sample(
    shards: Sequence["Shard"], limit: int, path: Path, columns: Sequence[str] = ()
) -> int:
    """Write up to ``limit`` examples, the same number from evenly spaced shards, as one shard.

    With ``columns`` it holds those of the input rows too, which cannot be found from it.
    """
    chosen = [
        shards[i * len(shards) // min(limit, len(shards))] for i in range(min(limit, len(shards)))
    ]
    per_shard = math.ceil(limit / len(chosen))
    tables = [pq.read_table(shard.path) for shard in chosen]
    picked = [
        t.take(np.linspace(0, t.num_rows - 1, min(per_shard, t.num_rows)).astype(int))
        for t in tables
    ]
    if columns:
        picked = [with_rows(t, s.path, columns) for t, s in zip(picked, chosen, strict=True)]
    table = pa.concat_tables(picked).slice(0, limit)
    pq.write_table(table, path)
    return int(table.num_rows)


def _disk(requests: Sequence[ScoreRequest], missing: Mapping[str, Sequence["Shard"]]) -> int:
    total = 0
    for request in requests:
        n = sum(shard.n_examples for shard in missing[request.key.set_id])
        total += n * (
            ID_BYTES + sum(_column_bytes(request, c.dtype) for c in request.scorer.outputs.values())
        )
    return total


def _column_bytes(request: ScoreRequest, dtype: str) -> int:
    if dtype != "vector" or request.model is None:
        return 8
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        request.model.path, local_files_only=True, trust_remote_code=False
    )
    return 4 * int(config.get_text_config().hidden_size)
