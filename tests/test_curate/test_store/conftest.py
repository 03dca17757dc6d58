"""Small pools whose every value follows from a number, for the tests of the store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.store import Dataset, IngestCounts, ScoreKey, ScoreSet, Shard, Store
from curate.store.parts import part_schema, write_part

RAW = pa.schema([("record", pa.binary())])


def hex_id(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


class PoolMaker:
    """Ingests examples numbered by integers and scores them with values computed from their ids."""

    group = 3
    raw_schema = RAW

    def id(self, name: str) -> str:
        """Return the id of a name: ``e7`` is example 7, ``g2`` the group of the examples 6 to 8."""
        return hex_id(name)

    def dataset(self, name: str) -> Dataset:
        return Dataset(name, f"{name}.jsonl", "jsonl", "messages", content_hash=hex_id(name))

    def batch(self, numbers: Sequence[int], start: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        n = len(numbers)
        batch = pa.RecordBatch.from_pydict(
            {
                "position": pa.array(range(start, start + n), pa.int64()),
                "id": [hex_id(f"e{i}") for i in numbers],
                "group_id": [hex_id(f"g{i // self.group}") for i in numbers],
                "external_id": [f"x{i}" for i in numbers],
                "source": [f"source{i % 2}" for i in numbers],
                "messages": [f'[{{"content":"{i}","role":"assistant"}}]' for i in numbers],
                "tools": pa.nulls(n, pa.string()),
                "prompt": [f"prompt {i // self.group}" for i in numbers],
                "input_at": pa.nulls(n, pa.int64()),
                "response": [f"response {i}" for i in numbers],
                "n_chars": pa.array(numbers, pa.int64()),
            }
        )
        raw = pa.RecordBatch.from_arrays(
            [pa.array([f"raw {i}".encode() for i in numbers], pa.binary())], schema=RAW
        )
        return batch, raw

    def ingest(
        self, store: Store, name: str, numbers: Sequence[int], batch_rows: int = 100
    ) -> IngestCounts:
        with store.pool_writer(self.dataset(name), RAW) as writer:
            for start in range(0, len(numbers), batch_rows):
                writer.append(*self.batch(numbers[start : start + batch_rows], start))
            return writer.commit()

    def key(self, alias: str) -> ScoreKey:
        return ScoreKey(alias, 1, {"lr": 0.5}, model={"name": "m", "revision": "r"})

    def part(self, shard: Shard, *, vector: bool = False) -> pa.Table:
        """Return one float, int, bool, text and list each, a failure for every 20th example."""
        ids = pq.read_table(shard.path, columns=["id"])["id"].to_pylist()
        numbers = [int(i[:6], 16) for i in ids]
        failure = ["non_finite" if n % 20 == 0 else None for n in numbers]
        ok = [f is None for f in failure]
        if vector:
            vectors = [
                [n / 7, 1.0, -n / 3] if k else None for n, k in zip(numbers, ok, strict=True)
            ]
            arrays = [ids, vectors, failure]
            schema = part_schema({"vector": "vector"})
        else:
            arrays = [
                ids,
                [n / 3 if k else None for n, k in zip(numbers, ok, strict=True)],
                [n if k else None for n, k in zip(numbers, ok, strict=True)],
                [n % 2 == 0 if k else None for n, k in zip(numbers, ok, strict=True)],
                [f"t{n}" if k else None for n, k in zip(numbers, ok, strict=True)],
                [[n / 2, n / 4] if k else None for n, k in zip(numbers, ok, strict=True)],
                failure,
            ]
            schema = part_schema(
                {"x": "float", "n": "int", "even": "bool", "label": "text", "losses": "floats"}
            )
        columns = [
            pa.array(np.asarray(a, dtype=object) if f.type == pa.bool_() else a, f.type)
            for a, f in zip(arrays, schema, strict=True)
        ]
        return pa.Table.from_arrays(columns, schema=schema)

    def write_parts(self, store: Store, alias: str, *, vector: bool = False) -> ScoreSet:
        score_set = store.score_set(self.key(alias), alias, {"batch_tokens": 4096})
        without, _ = store.pending_shards(score_set, store.shards())
        for shard in without:
            facts = {"tokens": 10, "wall_s": 0.5, "device": "cpu", "n_oom_split": 0}
            write_part(score_set.part(shard.shard_id), self.part(shard, vector=vector), facts)
        return score_set

    def score(self, store: Store, alias: str, *, vector: bool = False) -> ScoreSet:
        score_set = self.write_parts(store, alias, vector=vector)
        store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
        store.finish(score_set)
        return score_set


@pytest.fixture(scope="session")
def pools() -> PoolMaker:
    return PoolMaker()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")
