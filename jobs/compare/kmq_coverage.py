"""How many tasks a selection covers, and how evenly: kMQ against random draws of the same size.

``kmq_coverage.py [--limit N]`` reads ``ni_pool.parquet``, whose rows come from 138 tasks, and
``tiny-english-6m`` where tests look for them, selects with several seeds, and writes
``kmq-coverage.md``. No method sees the tasks. ``--data FILE --task COLUMN`` takes other rows, whose tasks
are another column.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import polars as pl
from jaxtyping import Int

import curate
from curate.api.pool import Pool
from jobs.compare.kept import WORK, command_line, kept_folder

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ARMS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "random": ("random", {}),
    "kmq": ("kmq", {}),
    "kmq, uniform draw inside clusters": ("kmq", {"prob": "uniform"}),
    "kmq, the same budget for every cluster": ("kmq", {"init": "uniform"}),
    "kmq, k=auto": ("kmq", {"k": "auto"}),
}
RANDOM: Final = "random"


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """What one selection covers.

    Parameters
    ----------
    covered
        Tasks with at least one pick.
    entropy
        Of the task of a pick, in nats.
    smallest
        Picks of the least represented tenth of all tasks, together.
    """

    covered: int
    entropy: float
    smallest: int


def main(words: Sequence[str] | None = None) -> int:
    """Ingest, score, select, measure, write; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    began = time.perf_counter()
    rows = read(options.data, options.task, options.limit)
    with kept_folder(options.work) as work:
        data = work / "rows.parquet"
        rows.write_parquet(data)
        pool = curate.open(work / "curate.duckdb", create=True)
        pool.ingest(str(data))
        tasks, n_tasks = tasks_of(pool, rows)
        found = {
            budget: {name: measured(pool, tasks, name, budget, options) for name in ARMS}
            for budget in options.budget
        }
    whole = measure(tasks, list(tasks), n_tasks)
    text = report(found, whole, len(tasks), n_tasks, options)
    command = command_line("kmq_coverage.py", words or sys.argv[1:])
    text += f"\n`{command}`: {time.perf_counter() - began:,.0f} s.\n"
    path = Path(options.out) / "kmq-coverage.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {path}")
    return 0


def read(path: Path, task: str, limit: int | None) -> pl.DataFrame:
    """Return the rows that have a task, or so many of them, drawn uniformly with a fixed seed."""
    frame = (
        pl.read_parquet(path, columns=["id", "prompt", "response", task])
        .rename({task: "label"})
        .drop_nulls("label")
    )
    if limit is None:
        return frame
    return frame[np.sort(np.random.default_rng(0).permutation(len(frame))[:limit])]


def tasks_of(pool: Pool, rows: pl.DataFrame) -> tuple[dict[str, int], int]:
    """Return the number of each example's task, that of its first row, and how many there are."""
    ids = pool.sql("select id from examples order by id")["id"].to_list()
    first = pool.store.first_rows(ids)
    positions = dict(
        zip(first.column("id").to_pylist(), first.column("position").to_pylist(), strict=True)
    )
    labels = rows["label"].to_list()
    numbers = {label: number for number, label in enumerate(sorted(set(labels)))}
    return {one: numbers[labels[position]] for one, position in positions.items()}, len(numbers)


def measured(
    pool: Pool, tasks: Mapping[str, int], arm: str, budget: str, options: argparse.Namespace
) -> list[Measured]:
    """Select with every seed and count what each selection covers."""
    n_tasks = len(set(tasks.values()))
    found = [
        measure(tasks, picks(pool, *ARMS[arm], budget, seed, options), n_tasks)
        for seed in range(options.seeds)
    ]
    print(f"{budget} {arm}: {found}", file=sys.stderr)
    return found


def picks(
    pool: Pool, method: str, settings: Mapping[str, str], budget: str, seed: int,
    options: argparse.Namespace,
) -> list[str]:  # fmt: skip
    """Return the ids a method selects."""
    own = {"k": options.k, **settings} if method == "kmq" else dict(settings)
    encoder = {} if options.encoder is None else {"encoder": options.encoder}
    chosen = pool.select(
        method, budget=budget, seed=seed, settings=own, model=options.model,
        model_for=encoder, template="plain", dtype=options.dtype,
    )  # fmt: skip
    ids: list[str] = chosen.rows().column("id").to_pylist()
    return ids


def measure(tasks: Mapping[str, int], ids: Sequence[str], n_tasks: int) -> Measured:
    """Count what some examples cover.

    Examples
    --------
    >>> measure({"a": 0, "b": 0, "c": 1}, ["a", "c"], 3)
    Measured(covered=2, entropy=0.6931471805599453, smallest=0)
    """
    counts = np.bincount([tasks[one] for one in ids], minlength=n_tasks)
    smallest = np.sort(counts)[: max(1, n_tasks // 10)].sum()
    return Measured(int(np.count_nonzero(counts)), entropy(counts), int(smallest))


def entropy(counts: Int[np.ndarray, " k"]) -> float:
    """Return the entropy in nats of a distribution given by counts; log(k) where all are equal."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def report(
    found: Mapping[str, Mapping[str, Sequence[Measured]]],
    whole: Measured,
    n_examples: int,
    n_tasks: int,
    options: argparse.Namespace,
) -> str:
    """Write the page: one table a budget, one row a method, mean over seeds with deviation and range."""
    encoder = options.encoder or f"the embedding of {Path(options.model).name}"
    lines = [
        "# Tasks covered by kMQ and by random draws",
        "",
        f"- {n_examples:,} examples of {n_tasks} tasks; no method sees the tasks",
        f"- {options.seeds} seeds, k={options.k} where not said otherwise, vectors: {encoder}",
        f"- the whole pool: {whole.covered} tasks, entropy {whole.entropy:.4f} nats",
        f"- with all tasks alike the entropy is {np.log(n_tasks):.4f} nats",
        "- mean over seeds ± standard deviation (range)",
        "- over random: mean difference to random of the same seed, and how often it is above 0",
        "- smallest tenth: picks of the tenth of the tasks with the fewest picks, together",
    ]
    for budget, arms in found.items():
        lines += ["", f"## Budget {budget}", "", *_table(arms)]
    return "\n".join(lines) + "\n"


def _table(arms: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    yield "| method | tasks covered | over random | entropy, nats | over random | smallest tenth |"
    yield "|---|---|---|---|---|---|"
    for name, found in arms.items():
        cells = [name]
        for what, digits in (("covered", 1), ("entropy", 4)):
            values, base = ([getattr(m, what) for m in of] for of in (found, arms[RANDOM]))
            cells += [spread(values, digits), "" if name == RANDOM else _over(values, base, digits)]
        cells.append(spread([m.smallest for m in found], 1))
        yield f"| {' | '.join(cells)} |"


def _over(values: Sequence[float], base: Sequence[float], digits: int) -> str:
    apart = np.array(values) - np.array(base)
    return f"{apart.mean():+.{digits}f}, {(apart > 0).sum()} of {len(apart)}"


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean ± standard deviation and range as text."""
    low, high = min(values), max(values)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return (
        f"{np.mean(values):.{digits}f} ± {deviation:.{digits}f} "
        f"({low:.{digits}f} to {high:.{digits}f})"
    )


def _parser() -> argparse.ArgumentParser:
    shared = ROOT.parent / "shared"
    data = Path(os.environ.get("CURATE_REALDATA") or shared / "data")
    parser = argparse.ArgumentParser(prog="kmq_coverage.py", description=__doc__)
    parser.add_argument("--data", type=Path, default=data / "ni_pool.parquet", metavar="FILE")
    parser.add_argument("--task", default="label", metavar="COLUMN", help="the task of a row")
    parser.add_argument("--model", default=str(data.parent / "models" / "tiny-english-6m"))
    parser.add_argument(
        "--encoder", help="a sentence-transformers model instead of the model's own"
    )
    parser.add_argument("--dtype", default="auto", help="of the model, as in curate score")
    parser.add_argument("--limit", type=int, help="so many rows only, drawn uniformly")
    parser.add_argument("--budget", nargs="+", default=["5%", "1%"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--k", default="1024", help="clusters, or auto, silhouette, elbow")
    parser.add_argument(WORK, type=Path, help="keep the store in this folder and go on from it")
    parser.add_argument("--out", default=str(ROOT / "reports"), metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
