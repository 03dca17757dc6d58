"""Compressed files: damaged, in several members, under a wrong name, and bombs."""

import bz2
import gzip
import lzma
from random import Random
from typing import Final

import pyarrow as pa

from jobs.fuzz.families import arrow, csv_text, json_text, parquet
from jobs.fuzz.families.datasets import read_dataset
from jobs.fuzz.family import Attack, Family
from jobs.fuzz.mutations import damaged

_INNER: Final = (json_text.FAMILY, json_text.FAMILY, csv_text.FAMILY, parquet.FAMILY, arrow.FAMILY)
_ENDINGS: Final = (".gz", ".zst", ".bz2", ".xz")
_ENDLESS: Final = 300 << 20
_LINES: Final = 4 << 20  # each of them takes its time, as a row does


def _make(rng: Random) -> Attack:
    ending = rng.choice(_ENDINGS)
    if rng.random() < 0.003:
        return _bomb(rng, ending)
    inner = rng.choice(_INNER).make(rng)
    content = compressed(inner.content, ending)
    if rng.random() < 0.2:
        content += rng.choice((content, b"\0" * 100, b"junk", compressed(b"", ending)))
    if ending == ".zst" and rng.random() < 0.2:  # a frame to skip, as long as it says
        content = (
            b"\x50\x2a\x4d\x18" + rng.choice((b"\x04\0\0\0abcd", b"\xff\xff\xff\xff")) + content
        )
    if rng.random() < 0.6:
        content = damaged(rng, content)
    name = inner.name + (ending if rng.random() < 0.9 else rng.choice((".gz", ".zst", ".gz.zst")))
    return Attack(content, name)


def compressed(content: bytes, ending: str) -> bytes:
    """Return bytes compressed as the ending of a file's name says."""
    if ending == ".gz":
        return gzip.compress(content, 1)
    if ending == ".bz2":
        return bz2.compress(content, 1)
    if ending == ".xz":
        return lzma.compress(content, preset=0)
    packed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return packed


def _bomb(rng: Random, ending: str) -> Attack:
    unit = rng.choice((b"a", b"[", b'"', b"\0", b"\n", b'{"prompt":"a","response":"b"}\n'))
    size = _LINES if unit.endswith(b"\n") else _ENDLESS
    packed = compressed(unit * (size // len(unit)), ending)
    return Attack(
        packed, rng.choice(("a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow")) + ending
    )


FAMILY: Final = Family("compressed", _make, read_dataset)
