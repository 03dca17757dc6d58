"""Figure of scoring memory: a worker that runs many rows holds hardly more than one that runs few."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jobs.bench.children import MIB, in_child
from jobs.bench.figure import Bench, Figure, Goal, judged

SCORERS: Final = ("likelihood", "embedding")


def scoring_memory(bench: Bench) -> Figure:
    """Compare the peak memory of a worker over a long run with that over a short one."""
    few, many = bench.sizes.short_runs
    model = bench.inputs.tiny_model()
    peaks = []
    with tempfile.TemporaryDirectory(dir=bench.inputs.work) as temporary:
        folders = [Path(temporary, str(n)) for n in (few, many)]
        data = [str(bench.inputs.short_rows(n)) for n in (few, many)]
        for folder, shards in zip(
            folders, in_child(ingest_short, folders, data).value, strict=True
        ):
            done = in_child(score_shards, shards, model, folder, profiler=bench.profiler)
            peaks.append(done.peak_bytes / MIB)
    n_shards, tokens = done.value
    detail = (
        f"{peaks[0]:,.0f} MiB over {few:,} rows, {peaks[1]:,.0f} MiB over {many:,} rows in "
        f"{n_shards} shards ({tokens:,} tokens, {' + '.join(SCORERS)}, float32)"
    )
    reference = f"peak memory of a worker over {many:,} short rows, less that over {few:,}"
    return judged("memory", peaks[1] - peaks[0], Goal("<=", 200, "MiB"), reference, detail)


def ingest_short(folders: Sequence[Path], data: Sequence[str]) -> list[list[Path]]:
    """Ingest each file into a store in its folder; return the shard files of each."""
    from curate.data.read.ingest import ingest
    from curate.store import Store

    shards = []
    for folder, file in zip(folders, data, strict=True):
        folder.mkdir()
        store = Store(folder / "curate.duckdb")
        ingest(store, file)
        shards.append([shard.path for shard in store.shards()])
    return shards


def score_shards(shards: list[Path], model: Path, parts: Path) -> tuple[int, int]:
    """Run every shard and write its parts, as a worker does; return the shards and tokens run."""
    from curate.models.batch import CPU_ALONE_TOKENS, CPU_BATCH_TOKENS
    from curate.models.load import resolve_model
    from curate.registry import get_scorer
    from curate.scoring.executors.worker import ShardTask, TaskRunner
    from curate.scoring.passes import WorkerPass
    from curate.scoring.plan import Pass, PassMember
    from curate.scoring.requests import with_template

    rides = tuple(
        PassMember(name, name, with_template(get_scorer(name)(), "plain")[0]) for name in SCORERS
    )
    spec = Pass(
        rides, resolve_model(str(model)), "float32", CPU_BATCH_TOKENS, alone_tokens=CPU_ALONE_TOKENS
    )
    runner = TaskRunner((WorkerPass(spec),), "cpu")
    tokens = 0
    for number, shard in enumerate(shards):
        paths = {ride.set_id: parts / ride.set_id / f"{number}.parquet" for ride in rides}
        report = runner.run(ShardTask(0, shard.stem, shard, 0, paths))
        if report.n_failed:
            raise RuntimeError(f"{report.n_failed} generated rows failed in shard {shard.stem}")
        tokens += report.tokens // len(rides)
    return len(shards), tokens
