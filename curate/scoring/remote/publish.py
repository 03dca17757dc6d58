"""What the machine with the store writes below the URL: the plan, and the shards it is about."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import PoolScorer
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.errors import ConfigError
from curate.models.files import file_hash
from curate.scoring.blocks import BLOCK, ROW_BLOCK
from curate.scoring.chat_check import check_chat
from curate.scoring.options import ScoringOptions
from curate.scoring.plan import plan_passes
from curate.scoring.remote.document import (
    PlanDocument,
    PlannedModel,
    PlannedScope,
    PlannedSet,
    PlannedShard,
)
from curate.scoring.remote.places import (
    DATA,
    SCOPES,
    SHARDS,
    Arrivals,
    budgets_of,
    deliver,
    ids_digest,
    part_folder,
)
from curate.scoring.requests import ALONE, PREFIXES, SHARED, ScoreRequest, with_inputs
from curate.scoring.workload import ShardSize
from curate.store.objects import Objects
from curate.store.parts import read_parquet, write_parquet
from curate.store.pool.input_values import with_rows

if TYPE_CHECKING:
    from curate.store import ScoreSet, Shard, Store

AT_ONCE: Final = 8  # copies under way together
PUBLISHING: Final = "publishing"


@final
@dataclass(frozen=True, slots=True)
class Published:
    """What was published: the plan, and how many shards had to be copied."""

    url: str
    plan: PlanDocument
    n_copied: int

    def __str__(self) -> str:
        missing = sum(len(planned.missing) for planned in self.plan.sets)
        return (
            f"published {counted(len(self.plan.sets), 'score set')} and {counted(self.n_copied, 'shard')} at "
            f"{self.url}: {counted(missing, 'part')} to compute; on other machines: the same command with "
            f"--slice I/N instead of --plan-only; then here: curate commit --parts {self.url}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the document that `score --plan-only --json` prints."""
        return {
            "parts": self.url,
            "plan_id": self.plan.plan_id,
            "sets": {planned.key.set_id: planned.alias for planned in self.plan.sets},
            "n_shards": len(self.plan.shards),
            "n_copied": self.n_copied,
            "n_missing": sum(len(planned.missing) for planned in self.plan.sets),
        }

    def raise_for_failures(self) -> None:
        """Raise nothing: what fails is counted when the parts are committed."""


def publish(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    asked: Mapping[str, Any],
    objects: Objects,
    progress: Progress,
) -> Published:
    """Write the plan of some score sets, and what its workers read, below a URL.

    Shards that are there already are left alone. Reads every shard that lacks a part.
    Raises `ConfigError` for a scorer that needs more than its shard, an empty pool, and a URL that
    has the plan of another pool.
    """
    requests = with_inputs(requests)
    for request in requests:
        refuse_what_no_shard_has(request)
    with store.held():
        shards = store.shards()
        if not shards:
            raise ConfigError("the pool is empty; ingest some examples first: curate ingest DATA")
        sets = {r.key.set_id: store.score_set(r.key, r.alias, r.run_parameters()) for r in requests}
        missing = {i: store.pending_shards(made, shards)[0] for i, made in sets.items()}
        read = _read_sets(store, sets)
    lacking = {shard.shard_id for found in missing.values() for shard in found}
    runs = {set_id: made.run for set_id, made in sets.items()}
    passes = plan_passes([r for r in requests if missing[r.key.set_id]], runs)
    check_chat(passes, [shard.path for shard in shards if shard.shard_id in lacking], progress)
    columns = sorted({name for r in requests for name in r.scorer.row_columns()})
    planned = [_shard(shard) for shard in shards]
    _refuse_other_pool(objects, planned)
    copied, n_copied = _copied(
        objects, [s for s in shards if s.shard_id in lacking], columns, progress
    )
    plan = PlanDocument(
        asked=dict(asked),
        models=dict(options.models),
        sets=[_set(r, sets[r.key.set_id], read, missing[r.key.set_id], options) for r in requests],
        scopes=_scopes(objects, requests),
        shards=[copied.get(shard.shard_id, shard) for shard in planned],
    )
    _deliver_inputs(objects, plan, read)
    plan.write(objects)
    return Published(str(objects), plan, n_copied)


def refuse_what_no_shard_has(request: ScoreRequest) -> None:
    """Raise `ConfigError` for a scorer that reads what does not go to other machines."""
    scorer = request.scorer
    if isinstance(scorer, PoolScorer):
        raise ConfigError(
            f"scorer {scorer.name!r} sees the whole pool at once, which no slice does; run it "
            "without --parts, after curate commit"
        )
    if targets := scorer.read_targets():
        raise ConfigError(
            f"scorer {scorer.name!r} reads the target set {targets[0]!r}, which lies in the store; run it "
            "without --parts"
        )


def _read_sets(store: "Store", sets: Mapping[str, "ScoreSet"]) -> dict[str, "ScoreSet"]:
    """Return every set that one of some sets reads, by id."""
    wanted = {set_id for made in sets.values() for set_id in made.key.inputs.values()}
    found = {set_id: sets.get(set_id) or store.find_score_set(set_id) for set_id in wanted}
    return {set_id: made for set_id, made in found.items() if made is not None}


def _shard(shard: "Shard") -> PlannedShard:
    return PlannedShard(shard.shard_id, shard.dataset, shard.n_examples)


def _refuse_other_pool(objects: Objects, shards: Sequence[PlannedShard]) -> None:
    there = PlanDocument.find(objects)
    known = {(shard.shard_id, shard.n_examples) for shard in shards}
    if there is not None and not known & {(s.shard_id, s.n_examples) for s in there.shards}:
        raise ConfigError(
            f"--parts {objects} has the plan of another pool, which shares no shard with this one; give "
            "another prefix, or remove what lies there"
        )


def _copied(
    objects: Objects, shards: Sequence["Shard"], columns: Sequence[str], progress: Progress
) -> tuple[dict[str, PlannedShard], int]:
    """Copy the shards that are not there yet; return all of them as planned, and how many were copied."""
    there = objects.sizes(SHARDS)
    progress.start(PUBLISHING, len(shards), "shards")

    def copy(shard: "Shard") -> tuple[PlannedShard, bool]:
        with _to_publish(shard, columns) as file:
            checksum = file_hash(file)
            size = ShardSize.of(file)
            key = f"{SHARDS}/{checksum}{DATA}"
            is_new = there.get(key) != file.stat().st_size
            if is_new:
                objects.put(key, file)
        planned = PlannedShard(
            shard.shard_id, shard.dataset, shard.n_examples, size.text_bytes,
            ids_digest(shard.path), checksum,
        )  # fmt: skip
        return planned, is_new

    made, n_copied = {}, 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for planned, is_new in pool.map(copy, shards):
            made[planned.shard_id] = planned
            n_copied += is_new
            progress.advance(PUBLISHING, 1)
    progress.finish(PUBLISHING)
    return made, n_copied


@contextmanager
def _to_publish(shard: "Shard", columns: Sequence[str]) -> Iterator[Path]:
    """Yield the file of a shard, or a copy that has what its scorers read of the input rows."""
    if not columns:
        yield shard.path
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, shard.path.name)
        write_parquet(path, with_rows(read_parquet(shard.path), shard.path, columns))
        yield path


def _set(
    request: ScoreRequest,
    made: "ScoreSet",
    read: Mapping[str, "ScoreSet"],
    missing: Sequence["Shard"],
    options: ScoringOptions,
) -> PlannedSet:
    scorer: Any = request.scorer
    return PlannedSet(
        alias=request.alias,
        key=request.key,
        settings=asdict(scorer),
        model=_model(request, options),
        dtype=request.dtype,
        batch_tokens=int(made.run["batch_tokens"]),
        alone_tokens=made.run.get(ALONE),
        paper_template=request.paper_template,
        served_chat=request.served_chat,
        reads={
            alias: [set_id, budgets_of(read[set_id].run)]
            for alias, set_id in request.key.inputs.items()
            if set_id in read
        },
        scope=None if request.scope is None else request.scope.digest,
        missing=[shard.shard_id for shard in missing],
        share_prefixes=made.run.get(PREFIXES) == SHARED,
        row_block=int(made.run.get(BLOCK, ROW_BLOCK)),
    )


def _model(request: ScoreRequest, options: ScoringOptions) -> PlannedModel | None:
    model = request.model
    if model is None:
        return None
    roles = [role for role, name in options.models.items() if name == model.name]
    own = request.scorer.model_role
    role = own if own in roles else roles[0]
    assert role is not None
    adapter = options.adapter if model.adapter else None
    return PlannedModel(model.name, role, model.revision, model.fingerprint, adapter, model.chat)


def _scopes(objects: Objects, requests: Sequence[ScoreRequest]) -> dict[str, PlannedScope]:
    scopes = {}
    for request in requests:
        scope = request.scope
        if scope is not None and scope.digest not in scopes:
            objects.put(f"{SCOPES}/{scope.digest}{DATA}", scope.path)
            checksum = file_hash(scope.path)
            scopes[scope.digest] = PlannedScope(scope.selection, checksum, dict(scope.counts))
    return scopes


def _deliver_inputs(objects: Objects, plan: PlanDocument, read: Mapping[str, "ScoreSet"]) -> None:
    """Write the parts that derived scores read and that the store has already."""
    there = Arrivals.below(objects)
    shards = {shard.shard_id: shard for shard in plan.shards}
    for planned in plan.sets:
        for set_id, cut in planned.reads.values():
            for shard_id in planned.missing:
                part = read[set_id].part(shard_id)
                folder = part_folder(set_id, cut, shard_id, shards[shard_id].ids)
                if part.exists() and not there.attempts(folder):
                    deliver(objects, folder, part, set_id, shard_id, plan.plan_id)
