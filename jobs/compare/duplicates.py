"""How many planted copies `near_duplicate` finds, and how many planted leaks `contamination` does.

``duplicates.py [--rows N] [--planted N]`` takes real rows, leaves out those that repeat others
already, plants changed copies of some of them and of the rows of a benchmark, scores the pool by the
command's own library calls, and writes recall and precision per kind of change to
``duplicates.md``.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import polars as pl

import curate
from curate.algorithms.minhash import jaccard_with, shingles_of
from curate.api.pool import Pool
from jobs.compare.kept import WORK, command_line, kept_folder

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DATA: Final = Path(os.environ.get("CURATE_REALDATA", ROOT.parent / "shared" / "data"))
LEAST_WORDS: Final = 30
THRESHOLDS: Final = (0.8, 0.5)

Change = Callable[[str, np.random.Generator], str]


@final
@dataclass(frozen=True, slots=True)
class Planted:
    """One changed copy: the kind of change, the row it is of, its prompt and response."""

    kind: str
    origin: int
    prompt: str
    response: str


def case(text: str, rng: np.random.Generator) -> str:
    """Write every letter large."""
    return text.upper()


def whitespace(text: str, rng: np.random.Generator) -> str:
    """Put one to three blanks or line ends between words."""
    gaps = rng.integers(0, 4, len(text.split()))
    return "".join(
        w + (" ", "  ", "\n", " \t ")[g] for w, g in zip(text.split(), gaps, strict=True)
    )


def punctuation(text: str, rng: np.random.Generator) -> str:
    """Take out every mark that is neither letter nor digit, and end with an exclamation mark."""
    return re.sub(r"[^\w\s]|_", " ", text) + "!"


def reordered(text: str, rng: np.random.Generator) -> str:
    """Put the sentences into another order."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(sentences[at] for at in rng.permutation(len(sentences)))


def edited(share: float) -> Change:
    """Replace a share of the words by other words of the same text, as a light paraphrase does."""

    def change(text: str, rng: np.random.Generator) -> str:
        words = text.split()
        places = rng.permutation(len(words))[: max(1, round(share * len(words)))]
        for at in places.tolist():
            words[at] = words[rng.integers(0, len(words))] + "ly"
        return " ".join(words)

    return change


def prefix(share: float) -> Change:
    """Keep the first words."""

    def change(text: str, rng: np.random.Generator) -> str:
        words = text.split()
        return " ".join(words[: max(1, round(share * len(words)))])

    return change


def exact(text: str, rng: np.random.Generator) -> str:
    """Change nothing."""
    return text


CHANGES: Final[Mapping[str, Change]] = {
    "exact": exact, "case": case, "whitespace": whitespace, "punctuation": punctuation,
    "sentences reordered": reordered, "2% of words replaced": edited(0.02),
    "5% of words replaced": edited(0.05), "20% of words replaced": edited(0.2),
    "first 90%": prefix(0.9), "first 50%": prefix(0.5),
}  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Plant, score, measure, write; return 0."""
    options = _parser().parse_args(words)
    rng = np.random.default_rng(options.seed)
    began = time.perf_counter()
    parts = []
    with kept_folder(options.work) as work:
        rows = distinct_rows(work / "clean", options.data, options.rows, rng)
        planted = plant(rows, options.planted, rng)
        for threshold in THRESHOLDS:
            parts.append(copies_found(work / "copies", rows, planted, threshold))
        parts.append(leaks_found(work / "leaks", rows, options, rng))
    command = command_line("duplicates.py", words or sys.argv[1:])
    text = _report(options, command, len(rows), parts, time.perf_counter() - began)
    path = Path(options.out) / "duplicates.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {path}")
    return 0


def distinct_rows(folder: Path, data: Path, n: int, rng: np.random.Generator) -> pl.DataFrame:
    """Return rows of the data with enough words, of which none is like another one."""
    frame = pl.read_parquet(data, columns=["prompt", "response"])
    long = frame["response"].str.count_matches(r"\w+") >= LEAST_WORDS
    frame = frame.filter(long).unique(maintain_order=True)
    frame = frame[rng.permutation(len(frame))[:n]]
    pool = _pool(folder, frame)
    pool.score("near_duplicate", settings={"near_duplicate.threshold": str(min(THRESHOLDS))})
    copies = pool.sql(
        "select prompt, response from examples e join scores s on s.id = e.id "
        "where s.near_duplicate.is_copy"
    )
    return frame.join(copies, on=["prompt", "response"], how="anti", maintain_order="left")


def plant(rows: pl.DataFrame, n: int, rng: np.random.Generator) -> list[Planted]:
    """Return n changed copies of each kind, each of a row of its own."""
    order = rng.permutation(len(rows))[: n * len(CHANGES)].reshape(len(CHANGES), -1)
    prompts, responses = rows["prompt"].to_list(), rows["response"].to_list()
    return [
        Planted(kind, at, prompts[at], change(responses[at], rng))
        for (kind, change), places in zip(CHANGES.items(), order, strict=True)
        for at in places.tolist()
    ]


def copies_found(
    folder: Path, rows: pl.DataFrame, planted: Sequence[Planted], threshold: float
) -> list[str]:
    """Score rows and copies together; return the table of what was found at one threshold."""
    texts = pl.DataFrame(
        {"prompt": [p.prompt for p in planted], "response": [p.response for p in planted]}
    )
    pool = _pool(folder / str(threshold), pl.concat([rows, texts]))
    pool.score("near_duplicate", settings={"near_duplicate.threshold": str(threshold)})
    found = pool.sql(
        "select prompt, response, s.near_duplicate.cluster as cluster "
        "from examples e join scores s on s.id = e.id"
    )
    cluster = {(p, r): c for p, r, c in found.iter_rows()}
    own = [cluster[row] for row in rows.iter_rows()]
    members: dict[int, set[int]] = {}
    for at, code in enumerate(own):
        members.setdefault(code, set()).add(at)
    by_kind: dict[str, list[tuple[bool, bool, float]]] = {}
    for copy in planted:
        code = cluster[copy.prompt, copy.response]
        with_origin = own[copy.origin] == code
        others = members.get(code, set()) - {copy.origin}
        overlap = _overlap(rows, copy)
        by_kind.setdefault(copy.kind, []).append((with_origin, bool(others), overlap))
    lines = [
        f"## Copies at a threshold of {threshold:g}", "",
        ("| change | copies | median overlap | overlap reaches the threshold | recall | recall of those "
        "that reach it | precision |"), "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, results in by_kind.items():
        hit, wrong, overlaps = (np.array(column) for column in zip(*results, strict=True))
        reached = overlaps >= threshold
        of_reached = f"{hit[reached].mean():.1%}" if reached.any() else "none reach it"
        n_said = int((hit | wrong).sum())
        precision = f"{(n_said - int(wrong.sum())) / n_said:.1%}" if n_said else "none found"
        lines.append(
            f"| {kind} | {len(hit)} | {np.median(overlaps):.2f} | {reached.mean():.0%} "
            f"| {hit.mean():.1%} | {of_reached} | {precision} |"
        )
    n_wrong = len(own) - len(set(own))
    note = "`exact` copies are one example from the start: `curate ingest` merges equal rows."
    lines += [
        "",
        f"Rows put together with another row, though neither is planted: {n_wrong}. {note}",
    ]
    return lines


def leaks_found(
    folder: Path, rows: pl.DataFrame, options: argparse.Namespace, rng: np.random.Generator
) -> list[str]:
    """Plant rows of a benchmark as prompts of the pool; return the table of what was found."""
    benchmark = pl.read_parquet(options.benchmark, columns=["prompt"]).unique(maintain_order=True)
    enough = benchmark["prompt"].str.count_matches(r"\w+") >= LEAST_WORDS
    benchmark = benchmark.filter(enough).with_row_index("at", offset=1)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "benchmark.parquet"
    benchmark.select("prompt").write_parquet(file)
    n = min(options.planted, len(benchmark) // (len(CHANGES) + 1))
    order = rng.permutation(len(benchmark))
    planted: dict[str, list[tuple[int, str]]] = {}
    prompts = benchmark["prompt"].to_list()
    kinds = {**CHANGES, "inside a longer prompt": exact}
    for number, (kind, change) in enumerate(kinds.items()):
        for at in order[number * n : (number + 1) * n].tolist():
            text = change(prompts[at], rng)
            inside = number == len(CHANGES)
            text = f"{rows['response'][number]}\n{text}\nThink first." if inside else text
            planted.setdefault(kind, []).append((at + 1, text))
    texts = [(text, "See above.") for pairs in planted.values() for _, text in pairs]
    leaked = pl.DataFrame(texts, schema=["prompt", "response"], orient="row")
    pool = _pool(folder, pl.concat([rows, leaked]))
    pool.score("contamination", settings={"contamination.files": str(file)})
    found = pool.sql(
        "select prompt, s.contamination.n as n, s.contamination.file_row as at, "
        "s.contamination.longest as longest from examples e join scores s on s.id = e.id"
    )
    by_prompt = {prompt: rest for prompt, *rest in found.iter_rows()}
    clean = [by_prompt[prompt][0] for prompt in rows["prompt"]]
    lines = [
        f"## Leaks of {Path(options.benchmark).name}", "",
        "| change | leaks | recall | the right row is named | median words of the longest run |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, pairs in planted.items():
        n_runs, named, longest = (
            np.array(c) for c in zip(*(by_prompt[text] for _, text in pairs), strict=True)
        )
        hit = n_runs > 0
        right = named == np.array([at for at, _ in pairs])
        of_hit = f"{right[hit].mean():.1%}" if hit.any() else "none found"
        lines.append(
            f"| {kind} | {len(hit)} | {hit.mean():.1%} | {of_hit} | {np.median(longest):.0f} |"
        )
    n_false = sum(n > 0 for n in clean)
    n_leaks = sum(by_prompt[text][0] > 0 for pairs in planted.values() for _, text in pairs)
    lines += [
        "",
        (
            f"Rows of the pool that are not planted and share 13 words with the benchmark: {n_false} of "
            f"{len(clean):,}; precision {n_leaks / max(n_leaks + n_false, 1):.1%}."
        ),
    ]
    return lines


def _overlap(rows: pl.DataFrame, copy: Planted) -> float:
    before = f"{rows['prompt'][copy.origin]}\n{rows['response'][copy.origin]}"
    both = shingles_of([before, f"{copy.prompt}\n{copy.response}"], 5)
    return float(jaccard_with(both, 0, np.array([1]))[0])


def _pool(folder: Path, rows: pl.DataFrame) -> Pool:
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "rows.parquet")
    pool = curate.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(folder / "rows.parquet"))
    return pool


def _report(
    options: argparse.Namespace,
    command: str,
    n_rows: int,
    parts: Sequence[Sequence[str]],
    seconds: float,
) -> str:
    head = [
        "# Planted copies and leaks: how many are found", "", f"`{command}`", "",
        (f"{n_rows:,} rows of `{Path(options.data).name}` with responses of {LEAST_WORDS} words or more, "
        "none of them like another one; changed copies of their responses, under the same prompt "
        f"(seed {options.seed}, {seconds:,.0f} s). *Overlap* is the Jaccard index of runs of 5 words, what "
        "`near_duplicate` measures; a change that brings it below the threshold is no copy by that "
        "definition, and *recall of those that reach it* says what MinHash misses. *Precision* is the share of "
        "the copies found that are put together with nothing but their own row."),
    ]  # fmt: skip
    return "\n".join([*head, *(line for part in parts for line in ["", *part])]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=DATA / "dolly_15k.parquet")
    parser.add_argument("--benchmark", type=Path, default=DATA / "math_gsm8k_test.parquet")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--planted", type=int, default=200, help="copies of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "reports")
    parser.add_argument(WORK, type=Path, help="keep the stores here")
    return parser


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    raise SystemExit(main())
