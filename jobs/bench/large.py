"""Figures of a store that is larger than memory should hold: ten million examples, selected from."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from jobs.bench.children import MIB, Finished, Spent, in_child, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import listed
from jobs.bench.stored import RANK, ingest_file, write_pool

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.store import ScoreSet, Shard, Store

MEMORY_GOAL: Final = 8 * 1024 * MIB
WORDS: Final = 4  # of each generated text: what is measured reads no text
DIM: Final = 32  # components of each vector
POINTS: Final = 12  # of each trajectory
TENTH: Final = "10%"


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """One selection, as ``curate select`` would be asked for it."""

    what: str
    method: str
    budget: str | None = TENTH
    settings: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    quota: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()


TOP_K: Final = Asked("the best tenth by one score", "top-k", settings={"rank": RANK})
PER_GROUP: Final = Asked("the best of every group", "top-k", None, {"rank": RANK, "per_group": "1"})
OTHERS: Final = (
    Asked(
        "top-k of those that satisfy --where", "top-k", settings={"rank": RANK},
        where="likelihood.n_tokens > 100 and n_chars > 10",
    ),
    Asked(
        "top-k with a quota of each source", "top-k", settings={"rank": RANK}, quota={"*": "20%"}
    ),
    Asked("donod: TOPSIS over two scores", "donod", reads=("donod",)),
    Asked("s2l: k-means and water-filling within sources", "s2l", reads=("trajectory",)),
    Asked("kmq: k-means of vectors", "kmq", reads=("embedding",)),
)  # fmt: skip


def top_k(bench: Bench) -> Figure:
    """Select the best tenth of ten million examples."""
    return _timed(bench, "top-k-10m", TOP_K, Goal("<", 10, "s"))


def group_top_k(bench: Bench) -> Figure:
    """Select the best of every group of ten million examples."""
    return _timed(bench, "group-top-k-10m", PER_GROUP, Goal("<", 30, "s"))


def methods(bench: Bench) -> Figure:
    """Measure the memory of every other kind of selection from ten million examples."""
    store = large_store(bench)
    each, peaks = [], []
    for asked in OTHERS:
        done = in_child(select_large, store, asked, profiler=bench.profiler)
        n, spent = done.value
        peaks.append(done.peak_bytes / MIB)
        each.append(
            f"{asked.what}: {n:,} in {spent.wall_s:,.1f} s, processor {spent.cpu_s:,.1f} s, "
            f"peak {peaks[-1]:,.0f} MiB"
        )
    detail = f"{_size(bench)}, vectors of {DIM}, trajectories of {POINTS} points; {'; '.join(each)}"
    goal = Goal("<", MEMORY_GOAL // MIB, "MiB")
    what = "highest peak memory of a selection: condition, quotas, TOPSIS, water-filling, k-means"
    return judged("memory-10m", max(peaks), goal, what, detail)


def ingest_memory(bench: Bench) -> Figure:
    """Measure by how much the peak of an ingest grows from half of the rows to all of them.

    Fewer do not fill the memory that sorting may take before it spills.
    """
    n = bench.sizes.large // 2
    peaks, rates = [], []
    for rows in (n // 2, n):
        data = bench.inputs.short_rows(rows)
        with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
            store = Path(folder, "curate.duckdb")
            done = in_child(ingest_file, store, str(data), profiler=bench.profiler)
        data.unlink()
        peaks.append(done.peak_bytes / MIB)
        rates.append(rows / done.value[1].cpu_s)
    detail = (
        f"{peaks[0]:,.0f} MiB over {n // 2:,} rows, {peaks[1]:,.0f} MiB over {n:,} rows; "
        f"{rates[0]:,.0f} and {rates[1]:,.0f} rows a second of processor time"
    )
    what = f"peak memory of an ingest of {n:,} rows, less that of {n // 2:,}"
    return judged("ingest-memory", peaks[1] - peaks[0], Goal("<=", 200, "MiB"), what, detail)


def _timed(bench: Bench, name: str, asked: Asked, goal: Goal) -> Figure:
    store = large_store(bench)
    done: list[Finished] = [
        in_child(select_large, store, asked, seed, profiler=bench.profiler)
        for seed in range(bench.sizes.repeats)
    ]
    spent: list[Spent] = [one.value[1] for one in done]
    peak = max(one.peak_bytes for one in done)
    fits = peak < MEMORY_GOAL
    detail = (
        f"{done[0].value[0]:,} of {_size(bench)} selected and stored with reasons; processor "
        f"{listed((one.cpu_s for one in spent), 1)} s, on the clock {listed((one.wall_s for one in spent), 1)} s; "
        f"peak {peak / MIB:,.0f} MiB (goal < 8 GiB{')' if fits else ', FELL SHORT)'}; the order of the pool is "
        "kept already: the first selection after an ingest sorts it"
    )
    what = f"processor time of top-k, {asked.what}"
    value = statistics.median(one.cpu_s for one in spent)
    return judged(name, value, goal, what, detail, also=fits)


def _size(bench: Bench) -> str:
    return f"{bench.sizes.large:,} examples"


def large_store(bench: Bench) -> Path:
    """Return a store of ten million examples with four score sets; made once per run."""
    path = bench.inputs.work / "large" / "curate.duckdb"
    if not path.parent.is_dir():
        path.parent.mkdir()
        in_child(write_large, path, bench.sizes.large)
        in_child(select_large, path, TOP_K)  # sorts the pool
    return path


# What the children run ---------------------------------------------------------------------------


def write_large(path: Path, n: int) -> None:
    """Write the pool, and finish its score sets one after the other."""
    from curate.store import Store

    write_pool(path, n, WORDS)
    store = Store(path)
    for number, scorer in enumerate(("likelihood", "donod", "trajectory", "embedding")):
        score_set = set_of(store, scorer)
        write_random_parts(store, score_set, number)
        store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
        store.finish(score_set)


def set_of(store: "Store", scorer: str, alias: str | None = None) -> "ScoreSet":
    """Return the generated score set of a scorer: the one with its name, or another one."""
    from curate.store import ScoreKey

    name = alias or scorer
    return store.score_set(ScoreKey(scorer, 1, {"generated": name}), name, {})


def write_random_parts(
    store: "Store", score_set: "ScoreSet", seed: int, shards: "Sequence[Shard] | None" = None
) -> None:
    """Write the parts of some shards, or all, with random values in the columns of the scorer."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate.registry import get_scorer
    from curate.store.parts import part_schema, write_part

    outputs = get_scorer(score_set.key.scorer).outputs
    schema = part_schema({name: one.dtype for name, one in outputs.items()})
    rng = np.random.default_rng(seed)
    for shard in store.shards() if shards is None else shards:
        ids = pq.read_table(shard.path, columns=["id"])["id"]
        values = [_values(outputs[f.name].dtype, len(ids), rng) for f in list(schema)[1:-1]]
        table = pa.Table.from_arrays([ids, *values, pa.nulls(len(ids), pa.string())], schema=schema)
        write_part(score_set.part(shard.shard_id), table, {"tokens": len(ids), "wall_s": 1.0})


def _values(dtype: str, n: int, rng: "np.random.Generator") -> "pa.Array":
    import numpy as np
    import pyarrow as pa

    if dtype in ("vector", "floats"):
        width = DIM if dtype == "vector" else POINTS
        flat = pa.array(rng.standard_normal(n * width, dtype=np.float32))
        return pa.ListArray.from_arrays(np.arange(0, n * width + 1, width, dtype=np.int32), flat)
    if dtype == "ints":
        steps = pa.array(np.tile(np.arange(POINTS, dtype=np.int32), n))
        return pa.ListArray.from_arrays(np.arange(0, n * POINTS + 1, POINTS, dtype=np.int32), steps)
    if dtype == "bool":
        return pa.array(rng.random(n) < 0.01)
    return pa.array(rng.integers(1, 500, n)) if dtype == "int" else pa.array(-rng.random(n))


def select_large(path: Path, asked: Asked, seed: int = 0) -> tuple[int, Spent]:
    """Select as ``curate select`` does; return the picks, and what it took after the imports."""
    from curate.contracts.progress import SilentProgress
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.select.run import select
    from curate.store import Store

    store = Store(path, create=False)
    options = SelectOptions(
        asked.method, asked.budget, asked.settings, seed, where=asked.where, quota=asked.quota,
        bind={name: set_of(store, name).set_id for name in asked.reads},
    )  # fmt: skip
    with stopwatch() as spent:
        record: Mapping[str, Any] = select(store, options, ScoringOptions(), SilentProgress())
    return int(record["n_selected"]), spent
