"""How much of what is selected towards a target set is like it, against random draws of the same size.

``target_share.py [--limit N]`` reads ``ni_pool.parquet`` and ``ni_target_dev.parquet``, whose tasks and
sources differ but which share categories of tasks, and ``tiny-english-6m`` where tests look for them. Every
category of the target is a target set of its own, and all of it is another. Writes ``target-share.md``.
No method sees the categories.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from jaxtyping import Float

import curate
from curate.api.pool import Pool
from jobs.compare.kept import WORK, command_line, kept_folder

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ARMS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "random": ("random", {}),
    "rds-plus": ("rds-plus", {}),
    "rds-plus, max": ("rds-plus", {"aggregate": "max"}),
    "target-knn": ("target-knn", {}),
    "bm25": ("bm25", {}),
    "dsir": ("dsir", {}),
    "got-d": ("got-d", {}),
    "loss-drop": ("loss-drop", {}),
}
SEEDS: Final[Mapping[str, int]] = {
    "loss-drop": 2
}  # at most: each trains a model and passes the pool
RANDOM: Final = "random"
EVERYTHING: Final = "all"
LONGEST: Final = 500  # characters of prompt and response, so that a laptop embeds them
LEAST: Final = 10  # examples of a category in the pool, below which it is no target here
DRAWS: Final = 10_000  # of the bootstrap


def main(words: Sequence[str] | None = None) -> int:
    """Ingest, add targets, select, measure, write; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    began = time.perf_counter()
    rows = drawn(options.data / "ni_pool.parquet", options.limit)
    wanted = drawn(options.data / "ni_target_dev.parquet", None)
    with kept_folder(options.work) as work:
        rows.write_parquet(work / "rows.parquet")
        pool = curate.open(work / "curate.duckdb", create=True)
        pool.ingest(str(work / "rows.parquet"))
        categories = categories_of(pool, rows)
        targets = {
            name: of
            for name, of in target_sets(wanted, options.size).items()
            if sum(categories[i] in of for i in categories) >= LEAST
        }
        add_targets(pool, wanted, targets, options.size, work)
        found = {
            name: {arm: shares(pool, categories, name, of, arm, options) for arm in ARMS}
            for name, of in targets.items()
        }
    base = {
        name: (sum(categories[i] in of for i in categories), len(categories))
        for name, of in targets.items()
    }
    text = report(found, base, options)
    command = command_line("target_share.py", words or sys.argv[1:])
    text += f"\n`{command}`: {time.perf_counter() - began:,.0f} s.\n"
    path = Path(options.out) / "target-share.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    return 0


def drawn(path: Path, limit: int | None) -> pl.DataFrame:
    """Return short rows with a prompt, a response and a category: all, or so many drawn at random."""
    rows = pl.read_parquet(path, columns=["prompt", "response", "category"])
    rows = rows.unique(["prompt", "response"], keep="first", maintain_order=True)
    rows = rows.filter(
        pl.col("prompt").str.len_chars() + pl.col("response").str.len_chars() <= LONGEST
    )
    if limit is None or limit >= len(rows):
        return rows
    kept = np.sort(np.random.default_rng(0).permutation(len(rows))[:limit])
    chosen: pl.DataFrame = rows[kept.tolist()]
    return chosen


def categories_of(pool: Pool, rows: pl.DataFrame) -> dict[str, str]:
    """Return the category of each example of the pool, by id."""
    ids = pool.sql("select id from examples")["id"].to_list()
    positions = pool.store.first_rows(ids)
    names = rows["category"].to_list()
    return {
        one: names[position]
        for one, position in zip(
            positions["id"].to_pylist(), positions["position"].to_pylist(), strict=True
        )
    }


def target_sets(wanted: pl.DataFrame, size: int) -> dict[str, frozenset[str]]:
    """Return the categories of each target set by its name: each category by itself, and all."""
    counts = wanted.group_by("category").len().filter(pl.col("len") >= size)
    names = sorted(counts["category"].to_list())
    sets = {_name(one): frozenset([one]) for one in names}
    return {**sets, EVERYTHING: frozenset(names)}


def add_targets(
    pool: Pool, wanted: pl.DataFrame, sets: Mapping[str, frozenset[str]], size: int, work: Path
) -> None:
    """Add the target sets, ``size`` examples of each category, drawn at random."""
    for name, of in sets.items():
        chosen = [_some(wanted.filter(category=one), size) for one in sorted(of)]
        path = work / f"target-{name}.parquet"
        pl.concat(chosen).select("prompt", "response").write_parquet(path)
        pool.target.add(name, str(path))


def _some(rows: pl.DataFrame, size: int) -> pl.DataFrame:
    kept = np.random.default_rng(1).permutation(len(rows))[:size]
    chosen: pl.DataFrame = rows[np.sort(kept).tolist()]
    return chosen


def shares(
    pool: Pool,
    categories: Mapping[str, str],
    target: str,
    of: frozenset[str],
    arm: str,
    options: Any,
) -> list[float]:
    """Return the share of picks in the categories of a target set, for each seed."""
    method, settings = ARMS[arm]
    found = []
    for seed in range(min(options.seeds, SEEDS.get(arm, options.seeds))):
        chosen = pool.select(
            method, budget=options.budget, seed=seed, settings=dict(settings),
            model=str(options.model), workers=1, target=None if method == RANDOM else target,
        )  # fmt: skip
        found.append(float(np.mean([categories[one] in of for one in chosen.ids])))
    print(f"{target}: {arm}: {100 * float(np.mean(found)):.1f}%", file=sys.stderr, flush=True)
    return found


def report(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    base: Mapping[str, tuple[int, int]],
    options: Any,
) -> str:
    """Return the page."""
    return "\n".join([*_head(base, options), *_rows(found, base, options), *_notes(found)]) + "\n"


def _head(base: Mapping[str, tuple[int, int]], options: Any) -> Iterator[str]:
    n = base[EVERYTHING][1]
    fewer = "".join(f" ({arm}: {n_seeds})" for arm, n_seeds in SEEDS.items())
    yield "# What is selected towards a target set\n"
    yield (
        f"{n:,} examples of at most {LONGEST} characters drawn from `ni_pool` (Natural Instructions, 138 tasks), {options.budget} of them "
        f"selected towards {options.size} examples of one category of `ni_target_dev`, whose tasks and sources are "
        f"others; `{EVERYTHING}` has {options.size} of every category. Embeddings are those of "
        f"`tiny-english-6m`, a model of 6 million weights. Percentages of the picks that are of the target's "
        f"category, mean of {options.seeds} seeds{fewer}, and in brackets the lowest and the highest of them where they differ. "
        "No method sees the categories. `pool`: their share in the pool; `most`: what taking nothing else would give.\n"
    )
    yield "| target | pool | most | " + " | ".join(ARMS) + " |"
    yield "|---|" + "---:|" * (len(ARMS) + 2)


def _rows(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    base: Mapping[str, tuple[int, int]],
    options: Any,
) -> Iterator[str]:
    for name, arms in found.items():
        n_like, n = base[name]
        most = min(1.0, n_like / int(options.budget))
        cells = [_cell(values) for values in arms.values()]
        yield f"| {name} | {100 * n_like / n:.1f} | {100 * most:.0f} | {' | '.join(cells)} |"
    single = [arms for name, arms in found.items() if name != EVERYTHING]
    means = [100 * float(np.mean([np.mean(arms[arm]) for arms in single])) for arm in ARMS]
    share = 100 * float(np.mean([base[n][0] / base[n][1] for n in found if n != EVERYTHING]))
    yield f"| mean of the categories | {share:.1f} | | {' | '.join(f'{one:.1f}' for one in means)} |"


def _notes(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[str]:
    single = {name: arms for name, arms in found.items() if name != EVERYTHING}
    yield ""
    for arm in ARMS:
        if arm != RANDOM:
            more = [
                np.subtract(arms[arm], arms[RANDOM][: len(arms[arm])]) for arms in single.values()
            ]
            above = sum(float(one.mean()) > 0 for one in more)
            low, high = interval(more)
            yield (
                f"- {arm}: above random for {above} of {len(single)} categories, by "
                f"{100 * float(np.mean(more)):+.1f} points on average ({100 * low:+.1f} to {100 * high:+.1f})."
            )
    yield (
        "\nIn brackets: 95% intervals by the bootstrap, categories drawn anew and seeds within each. They say how much hangs "
        "on which categories there are; nine are few."
    )
    yield (
        "\nA category is a label of the tasks' authors: a pick of another category may be as useful, and one of "
        "the same category useless. Whether training on the picks helps is for `curate prove` to say."
    )


def interval(more: Sequence[Float[np.ndarray, " seeds"]]) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the mean over categories of values by seed."""
    rng = np.random.default_rng(0)
    values = np.array(more)
    n, seeds = values.shape
    drawn = rng.integers(0, n, (DRAWS, n))
    by_seed = rng.integers(0, seeds, (DRAWS, n, seeds))
    means = values[drawn[:, :, None], by_seed].mean(axis=(1, 2))
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return low, high


def _cell(values: Sequence[float]) -> str:
    mean, low, high = (100 * float(of(values)) for of in (np.mean, np.min, np.max))
    return f"{mean:.1f}" if low == high else f"{mean:.1f} ({low:.0f} to {high:.0f})"


def _name(category: str) -> str:
    return category.lower().rstrip(".").replace(" ", "-")


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data, help="folder of the real data")
    model = data.parent / "models" / "tiny-english-6m"
    parser.add_argument("--model", type=Path, default=model, help="model that embeds")
    parser.add_argument("--limit", type=int, default=2_000, help="examples of the pool")
    parser.add_argument("--size", type=int, default=50, help="examples of a category in a target")
    parser.add_argument("--budget", default="60", help="examples to select")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each selection")
    parser.add_argument("--out", default="reports", help="folder of the report")
    parser.add_argument(WORK, type=Path, default=None, help="folder to keep the store in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
