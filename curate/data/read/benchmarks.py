"""Reads benchmark files as plain texts: whatever is written in a row, in any column."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from curate.data.read.containers.readers import open_reader
from curate.data.read.sources import Source
from curate.errors import DataError


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
        for number, values in zip(chunk.numbers, zip(*columns, strict=True), strict=True):
            texts = list(_strings(values))
            block.texts.extend(texts)
            block.rows.extend([number] * len(texts))
        n_texts += len(block.texts)
        yield block
    if not n_texts:
        raise DataError(f"{source.name} holds no text; check that it is the right file")


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
