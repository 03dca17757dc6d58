"""``python jobs/scaling.py``: 100 million examples on 64 GPUs, on paper, from measured constants.

Bytes and tokens a row are measured on a real pool when this runs, rates and memory are read from
``reports/bench.json``. What a GPU does is not measured: it is a formula with an assumption, and says so.
"""

import argparse
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLES: Final = 100_000_000
PARAMETERS: Final = 1.5e9
GPUS: Final = 64
SHARD: Final = 16_384  # examples of the largest shard, which a pool of this size has
PEAK_FLOPS: Final = 789.4e12  # a matrix product on one H200, see reports/gpu.md
ASSUMED_SHARE: Final = 0.5  # of that peak: the goal of the design, not a measurement
SAMPLE: Final = 5_000
GENERATED: Final = 200_000
GIB: Final = 1024**3


@final
@dataclass(frozen=True, slots=True)
class Constant:
    """One number that everything else follows from, with its unit and where it is from."""

    name: str
    value: float
    unit: str
    source: str


def main() -> int:
    """Measure, read, and write ``reports/scaling.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pool", type=Path, required=True, help="a real pool, as curate ingest reads"
    )
    parser.add_argument(
        "--tokenizer", required=True, help="folder of a model, for its tokenizer alone"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "scaling.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="curate-scaling-") as folder:
        constants = [
            *measured(options.pool, options.tokenizer, Path(folder)),
            *read(ROOT / "reports" / "bench.json"),
        ]
    options.out.write_text(page(constants), encoding="utf-8")
    print(f"wrote {options.out}")
    return 0


def measured(data: Path, tokenizer: str, folder: Path) -> list[Constant]:
    """Return bytes and tokens a row of the first rows of a real pool."""
    import curate

    pool = curate.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(data), limit=SAMPLE)
    n = pool.store.n_examples()
    pool.score("length", model=tokenizer)
    sql = "select avg(length.prompt_tokens + length.response_tokens) as tokens from scores"
    tokens = float(pool.sql(sql).to_dicts()[0]["tokens"])
    texts = sum(_size(pool.store.parts / name) for name in ("examples", "raw", "rows")) / n
    real, named = f"{n:,} rows of {data.name}", Path(tokenizer).name
    return [
        Constant("tokens a row", tokens, "tokens", f"{real}, by the tokenizer of {named}"),
        Constant("texts, input rows and ids", texts, "bytes a row", real),
        *of_scores(folder / "generated"),
    ]


def of_scores(folder: Path) -> list[Constant]:
    """Return the bytes a row of ids and scores, which no text has to do with."""
    from curate.store import Store
    from jobs.bench.large import set_of, write_random_parts
    from jobs.bench.stored import write_pool

    folder.mkdir()
    path = folder / "curate.duckdb"
    Store(path)
    empty = _size(path)
    write_pool(path, GENERATED, 1)
    store = Store(path)
    catalogue = _size(path) - empty
    score_set = set_of(store, "likelihood")
    write_random_parts(store, score_set, 0)
    store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
    scores, parts = _size(path) - empty - catalogue, _size(score_set.folder)
    source = f"{GENERATED:,} generated rows"
    return [
        Constant("catalogue in the database", catalogue / GENERATED, "bytes a row", source),
        Constant("part of five scores", parts / GENERATED, "bytes a row", source),
        Constant("five scores in the database", scores / GENERATED, "bytes a row", source),
    ]


def read(path: Path) -> list[Constant]:
    """Return rates and memory from the benchmark's report; what it lacks is left out."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in document["figures"]}
    found = [
        Constant("ingest", figures["ingest"]["value"], "rows a second", "bench.md, ingest"),
        Constant("commit", figures["commit"]["value"], "rows a second", "bench.md, commit"),
    ]
    if "shard-overhead" in figures:
        beside = _number(r"([\d,.]+) ms a shard beside", figures["shard-overhead"]["detail"])
        found.append(Constant("a shard beside its pass", beside, "ms", "bench.md, shard-overhead"))
    if "top-k-10m" in figures:
        figure = figures["top-k-10m"]
        peak = _number(r"peak ([\d,.]+) MiB", figure["detail"]) * 1024**2 / 10_000_000
        found += [
            Constant("memory of a selection", peak, "bytes a row", "bench.md, top-k-10m"),
            Constant("processor time of top-k", figure["value"] / 10, "s a million rows",
                     "bench.md, top-k-10m"),
        ]  # fmt: skip
    return found


def page(constants: list[Constant]) -> str:
    """Return the report."""
    by_name = {constant.name: constant.value for constant in constants}
    about = (
        "Written by `jobs/scaling.py`. Nothing here was run at this size: each line is a measured constant times a "
        "number of rows, as if everything went on to grow linearly; at most ten million rows were measured. **The GPUs "
        "are not measured**: their line is a formula with an assumption, and leaves attention out."
    )
    rows = [f"| {c.name} | {c.value:,.4g} {c.unit} | {c.source} |" for c in constants]
    return "\n".join(
        [
            f"# {EXAMPLES:,} examples and a model of 1.5B on {GPUS} GPUs, on paper",
            "",
            about,
            "",
            "| constant | measured | from |",
            "|---|---|---|",
            *rows,
            "",
            "| what | how | result |",
            "|---|---|---|",
            *_derived(by_name),
            "",
        ]
    )


def _derived(constant: dict[str, float]) -> list[str]:
    n_shards = -(-EXAMPLES // SHARD)
    tokens = EXAMPLES * constant["tokens a row"]
    rate = ASSUMED_SHARE * PEAK_FLOPS / (2 * PARAMETERS)
    hours = tokens / (GPUS * rate) / 3600
    commit_s = EXAMPLES / constant["commit"]
    disk = constant["texts, input rows and ids"] + constant["part of five scores"]
    database = constant["catalogue in the database"] + constant["five scores in the database"]
    passes = (
        f"| hours of one pass, **not measured** | tokens / ({GPUS} x r x 3,600), r = u x P / (2 x parameters) "
        f"tokens a second; assumed: P = {PEAK_FLOPS / 1e12:.0f} TFLOP/s, u = {ASSUMED_SHARE:.0%} | "
        f"{hours:,.2f} if the assumption held, {2 * hours:,.2f} at half of it |"
    )
    commits = (
        f"| commit of one score set | rows / rate | {commit_s / 60:,.1f} min of one process, "
        f"{100 * commit_s / (hours * 3600):,.1f}% of the hours above |"
    )
    lines = [
        f"| shards | {EXAMPLES:,} / {SHARD:,} | {n_shards:,}, {n_shards / GPUS:,.0f} a GPU |",
        f"| tokens of one pass | rows x tokens a row | {tokens / 1e9:,.1f} billion |",
        passes,
        commits,
        f"| texts and parts on disk | rows x bytes | {EXAMPLES * disk / GIB:,.0f} GiB |",
        f"| database | rows x bytes | {EXAMPLES * database / GIB:,.0f} GiB |",
        f"| ingest | rows / rate | {EXAMPLES / constant['ingest'] / 3600:,.1f} h of one process |",
    ]
    if "a shard beside its pass" in constant:
        beside = n_shards * constant["a shard beside its pass"] / 1000
        lines.append(
            f"| beside the passes | shards x ms | {beside / 60:,.1f} min of processor time, "
            f"{beside / GPUS:,.0f} s a GPU |"
        )
    if "memory of a selection" in constant:
        memory = EXAMPLES * constant["memory of a selection"] / GIB
        seconds = EXAMPLES / 1e6 * constant["processor time of top-k"]
        lines.append(
            f"| top-k of all | rows x bytes and seconds | {memory:,.0f} GiB of memory, {seconds:,.0f} s; "
            f"within 8 GiB: {8 * GIB / constant['memory of a selection'] / 1e6:,.0f} million rows |"
        )
    return lines


def _number(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(
            f"reports/bench.json says {text!r}, in which {pattern!r} is not; measure it again"
        )
    return float(match[1].replace(",", ""))


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(ROOT))
    sys.exit(main())
