"""Figures of the store: ingest, commit, and selections over a million stored examples."""

import hashlib
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobs.bench.children import MIB, Finished, Spent, in_child, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import listed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.store import ScoreKey, ScoreSet

POOL: Final = "ni_pool"
GROUP: Final = 4  # responses per instruction of the generated store
BATCH: Final = 8_192
MEMORY_GOAL: Final = 2 * 1024 * MIB
RANK: Final = "likelihood.mean_logp"


def ingest(bench: Bench) -> Figure:
    """Rows per second from a Parquet file to a committed pool, hashing included."""
    path = bench.inputs.parquet_of(POOL, bench.sizes.ingest)
    done = []
    for _ in range(bench.sizes.repeats):
        with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
            store = Path(folder, "curate.duckdb")
            done.append(in_child(ingest_file, store, str(path), profiler=bench.profiler))
    n_rows = done[0].value[0]
    spent = [one.value[1] for one in done]
    rates = [n_rows / one.wall_s for one in spent]
    detail = f"{n_rows:,} rows; {listed(rates, 0)} rows/s; {_cost(spent, done)}"
    reference = f"ingest of {path.name}: read, canonicalise, hash, deduplicate, cut, commit"
    goal = Goal(">=", 20_000, "rows/s")
    return judged("ingest", statistics.median(rates), goal, reference, detail)


def commit(bench: Bench) -> Figure:
    """Rows of a scalar score set per second, from finished parts into DuckDB."""
    store = scored_pool(bench)
    n_rows = bench.sizes.stored
    aliases = [f"commit{number}" for number in range(bench.sizes.repeats)]
    singly = n_rows / in_child(write_parts_and_commit_singly, store, aliases).value.wall_s
    done = [in_child(commit_parts, store, one, profiler=bench.profiler) for one in aliases]
    spent = [one.value for one in done]
    rates = [n_rows / one.wall_s for one in spent]
    detail = (
        f"{n_rows:,} rows of 5 values; {listed(rates, 0)} rows/s; {_cost(spent, done)}; "
        f"{singly:,.0f} rows/s with a transaction per shard"
    )
    goal = Goal(">=", 200_000, "rows/s")
    reference = "commit of the parts of one score set in one call"
    return judged("commit", statistics.median(rates), goal, reference, detail)


def top_k(bench: Bench) -> Figure:
    """Select the best tenth of the stored pool by one score."""
    settings = {"rank": RANK}
    return _selection(bench, "top-k", settings, "10%", "top-k, 10% of the pool by one score")


def group_top_k(bench: Bench) -> Figure:
    """Select the best response to each instruction of the stored pool."""
    settings = {"rank": RANK, "per_group": "1"}
    return _selection(bench, "group-top-k", settings, None, "top-k, the best of every group")


def _selection(
    bench: Bench, name: str, settings: dict[str, str], budget: str | None, what: str
) -> Figure:
    store = scored_pool(bench)
    done = [
        in_child(select_stored, store, settings, budget, seed, profiler=bench.profiler)
        for seed in range(bench.sizes.repeats)
    ]
    n_selected = done[0].value[0]
    spent, imports = [one.value[1] for one in done], [one.value[2] for one in done]
    times = [one.wall_s for one in spent]
    fits = max(one.peak_bytes for one in done) < MEMORY_GOAL
    detail = (
        f"{n_selected:,} of {bench.sizes.stored:,} examples selected and stored with reasons; "
        f"{listed(times)} s, besides {statistics.median(one.wall_s for one in imports):.2f} s of "
        f"imports; {_cost(spent, done)} (goal < 2 GiB{')' if fits else ', FELL SHORT)'}"
    )
    goal = Goal("<", 5, "s")
    return judged(name, statistics.median(times), goal, what, detail, also=fits)


def _cost(spent: Sequence[Spent], done: Sequence[Finished]) -> str:
    """Return the processor time of each run, and the highest peak."""
    peak = max(one.peak_bytes for one in done) / MIB
    return f"processor {listed(one.cpu_s for one in spent)} s; peak {peak:,.0f} MiB"


def scored_pool(bench: Bench, name: str = "stored") -> Path:
    """Return a store with the generated pool and one complete score set; each name is made once per run."""
    path = bench.inputs.work / name / "curate.duckdb"
    if not path.parent.is_dir():
        path.parent.mkdir()
        in_child(write_scored_pool, path, bench.sizes.stored)
    return path


# What the children run ---------------------------------------------------------------------------


def ingest_file(store: Path, data: str) -> tuple[int, Spent]:
    """Ingest a file; return the rows read and what it took."""
    from curate.data.read.ingest import ingest as ingest_data
    from curate.store import Store

    opened = Store(store)
    with stopwatch() as spent:
        [report] = ingest_data(opened, data)
    return report.n_read, spent


def write_pool(path: Path, n: int, words: int = 20) -> None:
    """Write a pool of n short examples of so many repeated words, `GROUP` to an instruction."""
    write_texts(path, n, lambda i: (f"response {i} " * words,) * 2)


def write_texts(path: Path, n: int, texts_of: Callable[[int], tuple[str, str]]) -> None:
    """Write a pool of n examples, `GROUP` to an instruction; each number has its prompt and response."""
    import pyarrow as pa

    from curate.store import Dataset, Store

    schema = pa.schema([("record", pa.binary())])
    dataset = Dataset("bench", "bench.jsonl", "jsonl", "messages", content_hash="bench")
    with Store(path).pool_writer(dataset, schema) as writer:
        for low in range(0, n, BATCH):
            rows = range(low, min(n, low + BATCH))
            both = [texts_of(i) for i in rows]
            n_chars = [len(prompt) + len(response) for prompt, response in both]
            prompts, responses = (pa.array(side) for side in zip(*both, strict=True))
            batch = pa.RecordBatch.from_pydict(
                {
                    "position": pa.array(rows, pa.int64()),
                    "id": [_hashed(i) for i in rows],
                    "group_id": [_hashed(-1 - i // GROUP) for i in rows],
                    "external_id": pa.nulls(len(rows), pa.string()),
                    "source": [f"source{i % 7}" for i in rows],
                    "messages": [_messages(*one) for one in both],
                    "tools": pa.nulls(len(rows), pa.string()),
                    "prompt": prompts,
                    "response": responses,
                    "n_chars": pa.array(n_chars, pa.int64()),
                    "input_at": pa.nulls(len(rows), pa.int64()),
                }
            )
            raw = pa.RecordBatch.from_arrays([responses.cast(pa.binary())], schema=schema)
            writer.append(batch, raw)
        writer.commit()


def write_scored_pool(path: Path, n: int) -> None:
    """Write a pool of n examples with a finished score set."""
    from curate.store import Store

    write_pool(path, n)
    write_parts(path, ["likelihood"])
    commit_parts(path, "likelihood")
    store = Store(path)
    store.finish(score_set_of(store, "likelihood"))


def write_parts(path: Path, aliases: Sequence[str]) -> None:
    """Write the parts of score sets with the columns of the scorer ``likelihood``."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate.scorers.likelihood import Likelihood
    from curate.store import Store
    from curate.store.parts import part_schema, write_part

    store = Store(path)
    score_sets = [score_set_of(store, alias) for alias in aliases]
    schema = part_schema({name: one.dtype for name, one in Likelihood.outputs.items()})
    rng = np.random.default_rng(0)
    for shard in store.shards():
        ids = pq.read_table(shard.path, columns=["id"])["id"]
        values = [_values(field.type, len(ids), rng) for field in list(schema)[1:-1]]
        failure = pa.nulls(len(ids), pa.string())
        table = pa.Table.from_arrays([ids, *values, failure], schema=schema)
        for score_set in score_sets:
            write_part(score_set.part(shard.shard_id), table, {"tokens": 1, "wall_s": 1.0})


def commit_parts(path: Path, alias: str) -> Spent:
    """Commit a score set in one call; return what it took."""
    from curate.store import Store

    store = Store(path)
    score_set = score_set_of(store, alias)
    shards = [shard.shard_id for shard in store.shards()]
    with stopwatch() as spent:
        store.commit_parts(score_set, shards)
    return spent


def write_parts_and_commit_singly(path: Path, aliases: Sequence[str]) -> Spent:
    """Write the parts of score sets and of one more; return what its commit by shards took."""
    from curate.store import Store

    write_parts(path, [*aliases, "singly"])
    store = Store(path)
    score_set = score_set_of(store, "singly")
    shards = [shard.shard_id for shard in store.shards()]
    with stopwatch() as spent:
        for shard in shards:
            store.commit_parts(score_set, [shard])
    return spent


def select_stored(
    path: Path, settings: dict[str, str], budget: str | None, seed: int
) -> tuple[int, Spent, Spent]:
    """Select as ``curate select --method top-k`` does; return the picks, and what it and imports took."""
    with stopwatch() as imports:
        from curate.contracts.progress import SilentProgress
        from curate.scoring.options import ScoringOptions
        from curate.select.options import SelectOptions
        from curate.select.run import select
        from curate.store import Store

        store = Store(path, create=False)
    options = SelectOptions("top-k", budget, settings, seed)
    with stopwatch() as spent:
        record = select(store, options, ScoringOptions(), SilentProgress())
    return int(record["n_selected"]), spent, imports


def score_set_of(store: Any, alias: str) -> "ScoreSet":
    """Return the score set of an alias."""
    found: ScoreSet = store.score_set(_key(alias), alias, {})
    return found


def _key(alias: str) -> "ScoreKey":
    from curate.store import ScoreKey

    return ScoreKey("likelihood", 1, {"alias": alias})


def _values(kind: "pa.DataType", n: int, rng: "np.random.Generator") -> "pa.Array":
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return pa.array(rng.random(n) < 0.01)
    if pa.types.is_integer(kind):
        return pa.array(rng.integers(1, 500, n), kind)
    return pa.array(-rng.random(n), kind)


def _messages(prompt: str, response: str) -> str:
    turns = (("user", prompt), ("assistant", response))
    return json.dumps([{"role": role, "content": text} for role, text in turns])


def _hashed(number: int) -> str:
    return hashlib.blake2b(b"%d" % number, digest_size=16).hexdigest()
