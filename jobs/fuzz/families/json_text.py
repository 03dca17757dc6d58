"""JSON Lines and JSON: records of any keys and values, damaged, of any encoding and line end."""

import json
from random import Random
from typing import Any, Final

from jobs.fuzz.families.datasets import read_dataset
from jobs.fuzz.family import Attack, Family
from jobs.fuzz.mutations import changed, damaged, json_bytes, key, nested, value

_ROWS: Final[tuple[dict[str, Any], ...]] = (
    {"prompt": "Say one.", "response": "One."},
    {"instruction": "Add.", "input": "1 1", "output": "2", "id": 7, "source": "sums"},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"text": "Once."},
)
_ENDS: Final = (b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r", b"\n \r\n")


def _make(rng: Random) -> Attack:
    name = rng.choice(("a.jsonl", "a.json", "a.ndjson"))
    if rng.random() < 0.002:
        return Attack(_huge(rng), name)
    base = rng.choice(_ROWS)
    rows = [changed(rng, base, rng.choice((0.0, 0.05, 0.3))) for _ in range(rng.randrange(1, 8))]
    if rng.random() < 0.2:
        rows.append({key(rng): value(rng) for _ in range(rng.randrange(6))})
    texts = [json_bytes(rng, row) for row in rows]
    if rng.random() < 0.4:
        content = b"[" + b",".join(texts) + b"]"
    else:
        end = rng.choice(_ENDS)
        content = end.join(texts) + rng.choice((b"", end))
    if rng.random() < 0.1:
        encoding = rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"))
        content = content.decode("utf-8", "replace").encode(encoding)
    return Attack(damaged(rng, content) if rng.random() < 0.6 else content, name)


def _huge(rng: Random) -> bytes:
    """Return what is large in one way: deep, long, wide, with a number of a million digits."""
    kind = rng.randrange(6)
    if kind == 0:
        return b"[" * rng.choice((1_000, 100_000, 5_000_000))
    if kind == 1:
        return b'{"prompt": "' + b"a" * (100 << 20)
    if kind == 2:
        return json.dumps({f"c{i}": i for i in range(100_000)}).encode() + b"\n"
    if kind == 3:
        return b'{"prompt": ' + b"9" * 1_000_000 + b', "response": "a"}\n'
    if kind == 4:
        deep = json.dumps(nested(800)).encode()
        return b'{"messages": ' + deep + b', "prompt": "a", "response": "b"}\n' * 50
    return b'{"a":' * 200_000


FAMILY: Final = Family("json", _make, read_dataset)
