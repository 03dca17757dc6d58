"""CSV and TSV: quotes, delimiters, line ends and encodings of every kind."""

import csv
import io
from random import Random
from typing import Final, Literal

from jobs.fuzz.families.datasets import read_dataset
from jobs.fuzz.family import Attack, Family
from jobs.fuzz.mutations import TEXTS, damaged, key

_ENDS: Final = ("\n", "\n", "\r\n", "\r", "\n\r", "\n\n")
_HEADERS: Final = (
    ["prompt", "response"], ["instruction", "input", "output"], ["messages"], ["text"],
    ["id", "question", "answer", "source"], ["prompt", "prompt"], [""],
)  # fmt: skip


def _make(rng: Random) -> Attack:
    name = rng.choice(("a.csv", "a.csv", "a.tsv"))
    if rng.random() < 0.002:
        return Attack(_huge(rng), name)
    header = list(rng.choice(_HEADERS))
    if rng.random() < 0.2:
        header += [key(rng) for _ in range(rng.randrange(3))]
    rows = [header]
    for _ in range(rng.randrange(6)):
        n = len(header) if rng.random() < 0.9 else rng.randrange(len(header) + 3)
        rows.append(
            [rng.choice(TEXTS) if rng.random() < 0.4 else f"Say {rng.random()}." for _ in range(n)]
        )
    out = io.StringIO(newline="")
    delimiter = rng.choice((",", ",", "\t", ";", "|"))
    end = rng.choice(_ENDS)
    quoting: Literal[0, 1, 3] = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE))
    writer = csv.writer(
        out, delimiter=delimiter, lineterminator=end, quoting=quoting, escapechar="\\"
    )
    for row in rows:
        writer.writerow(row if row != [""] else ["a"])  # which csv writes with quotes alone
    content = out.getvalue().encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        encoding = rng.choice(("utf-8-sig", "utf-16", "latin-1", "utf-32"))
        content = content.decode("utf-8", "replace").encode(encoding, "replace")
    return Attack(damaged(rng, content) if rng.random() < 0.6 else content, name)


def _huge(rng: Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:  # a quote that never ends
        return b'prompt,response\n"' + b"a,b\n" * 4_000_000
    if kind == 1:
        return b"prompt,response\na," + b"b" * (100 << 20)
    if kind == 2:
        return ",".join(f"c{i}" for i in range(100_000)).encode() + b"\n" + b"1," * 99_999 + b"1\n"
    if kind == 3:
        return b"prompt,response\n" + b"\n" * 2_000_000
    return b'"' * 10_000_001


FAMILY: Final = Family("csv", _make, read_dataset)
