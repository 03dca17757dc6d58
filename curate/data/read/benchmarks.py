"""Reads benchmarks as plain texts: files, whatever is written in a row, and target sets of a store."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from curate.data.read.containers.readers import open_reader
from curate.data.read.sources import Source
from curate.errors import DataError
from curate.store.parts import read_json, read_parquet
from curate.store.records import TARGET_INPUT
from curate.store.targets import content_hash_in


@final
@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkTexts:
    """Texts of some rows of one file: each text, and the line or row number it is from, from 1."""

    file: str
    texts: list[str]
    rows: list[int]


def benchmark_texts(source: Source) -> Iterator[BenchmarkTexts]:
    """Yield every text of a dataset in blocks, one row after the other.

    A benchmark has columns of its own, so each column is read, and lists and fields within it; every
    string is a text. Raises `DataError` for a row that does not parse, and for a file without a text.
    """
    n_texts = 0
    for chunk in open_reader(source).chunks():
        if chunk.bad:
            raise DataError(f"{chunk.bad[0].place}: {chunk.bad[0].reason}")
        block = BenchmarkTexts(chunk.path, [], [])
        columns = [chunk.values(name) for name in chunk.names()]
        for i, number in enumerate(chunk.numbers):
            texts = list(_strings([column[i] for column in columns]))
            block.texts.extend(texts)
            block.rows.extend([number] * len(texts))
        n_texts += len(block.texts)
        yield block
    if not n_texts:
        raise DataError(f"{source.name} holds no text; check that it is the right file")


def target_texts(parts: Path, name: str, content_hash: str) -> Iterator[BenchmarkTexts]:
    """Yield every text of the conversations of a target set in blocks, from its files alone.

    Rows are counted from 1 in each dataset the set was read from; one that repeats an earlier row is
    not there again. Raises `DataError` if the set was removed, or replaced by one with another hash.
    """
    if content_hash_in(parts.parent) != content_hash:
        raise DataError(
            f"target set {name!r} was removed or replaced after scoring began, so the scores would be "
            "of other contents than they are kept under; run the same command again"
        )
    manifests = [read_json(path) for path in (parts / "datasets").glob("*.json")]
    for dataset in sorted(manifests, key=lambda manifest: int(manifest["ordinal"])):
        numbers = _numbers(parts / "rows" / f"{dataset['dataset_id']}.parquet")
        for shard in sorted((parts / "examples" / dataset["dataset_id"]).glob("*.parquet")):
            block = BenchmarkTexts(f"{TARGET_INPUT}{name}", [], [])
            table = read_parquet(shard, ["id", "messages"])
            for example, turns in zip(*(c.to_pylist() for c in table.columns), strict=True):
                texts = list(_strings([{**turn, "role": None} for turn in json.loads(turns)]))
                block.texts.extend(texts)
                block.rows.extend([numbers[example]] * len(texts))
            yield block


def _numbers(rows: Path) -> dict[str, int]:
    """Return the number, from 1, of the first row of each example."""
    table = read_parquet(rows, ["id", "position"])
    numbers: dict[str, int] = {}
    for example, position in zip(*(column.to_pylist() for column in table.columns), strict=True):
        numbers[example] = min(position + 1, numbers.get(example, position + 1))
    return numbers


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
