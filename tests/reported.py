"""Rows, scores and proofs to report on, and a parser that looks into the pages made of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

VOID = {"meta", "br", "hr", "img", "link", "input"}


@dataclass
class Parsed(HTMLParser):
    """A page's tags, their attributes and its text; tags must close in the order they opened."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def parse(page: str) -> Parsed:
    """Parse a page, which must be well nested."""
    found = Parsed()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


Value = Callable[[str], Any]


def score(
    pool: Any,
    alias: str,
    columns: Mapping[str, tuple[str, Value]],
    failure: Value = lambda name: None,
    config: Mapping[str, Any] | None = None,
) -> str:
    """Store a score set whose columns are functions of the row's own id; return the set's id."""
    from curate.store import ScoreKey
    from curate.store.parts import part_schema, write_part

    store = pool.store
    names = {
        row["id"]: row["external_id"]
        for row in store.read("select id, external_id from rows").to_pylist()
    }
    key = ScoreKey(alias, 1, config or {}, model={"name": "m", "revision": "r"}, max_length=64)
    score_set = store.score_set(key, alias, {"model": "folder/tiny"})
    schema = part_schema({name: dtype for name, (dtype, _) in columns.items()})
    for shard in store.shards():
        ids = pq.read_table(shard.path, columns=["id"])["id"].to_pylist()
        reasons = [failure(names[i]) for i in ids]
        arrays = [ids]
        for name, (_, value) in columns.items():
            values = [None if r else value(names[i]) for i, r in zip(ids, reasons, strict=True)]
            arrays.append(pa.array(values, schema.field(name).type))
        table = pa.Table.from_arrays(
            [*map(pa.array, arrays), pa.array(reasons, pa.string())], schema=schema
        )
        facts = {"tokens": 100, "wall_s": 0.5, "device": "cpu", "n_oom_split": 0}
        write_part(score_set.part(shard.shard_id), table, facts)
    store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
    store.finish(score_set)
    return str(score_set.set_id)


COLOURS = ("red", "green", "blue", "cyan", "plum", "gold")


def colour_rows() -> list[dict[str, str]]:
    """Six prompts with two responses each; ids red-1 and red-2 to gold-2; two sources."""
    return [
        {
            "id": f"{colour}-{n}",
            "prompt": f"Say {colour}.",
            "response": " ".join([colour] * n * (k + 1)),
            "source": "warm" if colour in ("red", "plum", "gold") else "cold",
        }
        for k, colour in enumerate(COLOURS)
        for n in (1, 2)
    ]


def quality(name: str) -> float:
    """Score of a row: 0 for red-1 up to 11 for gold-2."""
    colour, _, n = name.partition("-")
    return float(2 * COLOURS.index(colour) + int(n) - 1)


HOSTILE = (
    "<script>document.title='flag'</script>", "<img src=x onerror=\"document.title='flag'\">",
    "</pre></details><svg onload=\"document.title='flag'\">", "\u202eevil\u2066", "a\u200b\u200cb",
    "\ud800 lone", "\x00\x1b[31m", "](javascript:alert(1)) ``` | <b>", "'\"><style>*{}</style>",
    "x" * 1_000_000, "שלום עולם", "&lt;script&gt; &amp;",
)  # fmt: skip


def hostile_rows():
    return [
        {"id": f"h{k}", "prompt": f"{k} {text}", "response": text, "source": text[:200]}
        for k, text in enumerate(HOSTILE)
    ]


def proof_row(label: str, k: int) -> dict[str, Any]:
    """Return what a proof says of one method; the ``k``-th is 0.1 ``k`` better than random."""
    mean = 1.0 - 0.1 * k
    delta = None
    if label != "random":
        delta = {
            "mean": -0.1 * k, "ci_low": -0.1 * k - 0.02, "ci_high": -0.1 * k + 0.02,
            "over": "seeds and examples", "level": 0.975, "p": 0.001, "p_holm": 0.002, "verdict": "better",
        }  # fmt: skip
    return {
        "verdict": "the baseline" if delta is None else "better", "mean": mean, "spread": 0.01,
        "ci_low": mean - 0.05, "ci_high": mean + 0.05, "over": "seeds and examples",
        "values": [mean] * 5, "delta_vs_random": delta,
    }  # fmt: skip


def proof_document(
    methods: Sequence[str] = ("random", "long"), budgets=("10", "20")
) -> dict[str, Any]:
    """Return a proof of two budgets, as `curate prove` writes it; the numbers are made up."""
    cost = {
        "scoring_s": 1.5, "scoring_tokens": 10, "scoring_flops": None, "training_s": 2.5,
        "training_tokens": 20, "evaluation_tokens": 5, "training_flops": 1e9,
    }  # fmt: skip
    overlap = {
        "any": 2, "n_examples": 50, "same_example": 1, "same_prompt": 2, "same_13_words": 0,
    }  # fmt: skip
    kept = {"n_selected": 10.0, "n_tokens": 99.0, "length_ratio": 1.25}
    return {
        "model": "folder/tiny", "n_pool": 100, "budgets": list(budgets), "seeds": 5,
        "targets": [
            {"name": "test", "overlap": overlap, "overlapping": "left out"}
        ],
        "plan": {
            "n_trials": 2, "max_tokens": {budget: 1000 for budget in budgets},
            "trials": [
                {"trial_id": "t1", "method": "long", "budget": "10", "seed": 0, "max_tokens": 1000}
            ],
        },
        "results": [
            {
                "budget": budget, "target": "test", "metric": "nll", "lower_is_better": True,
                "methods": {label: proof_row(label, k) for k, label in enumerate(methods)},
            }
            for budget in budgets
        ],
        "slices": [
            {
                "budget": budgets[0], "target": "test", "metric": "nll", "slice": "source: a",
                "n_examples": 30,
                "methods": {
                    label: {"mean": 1.0, "delta": None, "ci_low": None, "ci_high": None}
                    if label == "random"
                    else {"mean": 0.9, "delta": -0.1, "ci_low": -0.2, "ci_high": 0.05}
                    for label in methods
                },
            }
        ],
        "selections": {budget: dict.fromkeys(methods, kept) for budget in budgets},
        "overlap": {
            budgets[0]: {
                "methods": list(methods),
                "jaccard": [[1.0 if a == b else 0.25 for b in methods] for a in methods],
            }
        },
        "costs": {budget: dict.fromkeys(methods, cost) for budget in budgets},
        "n_trained": 2, "wall_s": 3.0, "statements": ["NLL rewards a matching style."],
        "versions": {"python": "3.11"}, "command": "curate prove --methods long",
    }  # fmt: skip
