"""How well verifiers and pass rates tell right solutions from wrong ones, on GSM8K with known labels.

``pass_rate.py --model MODEL`` reads ``math_gsm8k_solutions.parquet`` where tests look for it: five
solutions to each question, labelled right or wrong by its publishers. It checks every solution against
the answer of the human's (scorer ``verified``), samples answers to some of the questions (``samples``),
and measures how often they agree with each solution (``pass_rate``); it writes ``pass-rate.md``.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import polars as pl
from jaxtyping import Bool

import curate
from curate.api.pool import Pool
from curate.contracts import Example, LoadContext
from curate.scorers.pass_rate import PassRate
from curate.scorers.verifiers.number import last_number
from jobs.compare.kept import WORK, command_line, kept_folder
from jobs.compare.noise_auroc import auroc

ROOT: Final = Path(__file__).resolve().parent.parent.parent
HUMAN: Final = "human"
BOOTSTRAPS: Final = 1_000


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report: a score that should be higher for right solutions.

    Parameters
    ----------
    name
        What the score is.
    right, wrong
        Its mean over right and over wrong solutions.
    area, low, high
        AUROC of right against wrong solutions and its 95% interval over questions.
    n, n_wrong
        Solutions with the score, and the wrong ones among them.
    """

    name: str
    right: float
    wrong: float
    area: float
    low: float
    high: float
    n: int
    n_wrong: int


def main(words: Sequence[str] | None = None) -> int:
    """Check, sample, measure, write; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    rows = read(options.data)
    with kept_folder(options.work) as work:
        checked = verified(work, rows)
        some = rows.filter(pl.col("question").is_in(drawn(rows, options.questions, options.seed)))
        texts, n_capped = sampled(work, some, options)
    agreed = agreement(some, texts)
    lines = [
        measured("verified.correct: the verifier, given the answer", checked, options.seed),
        measured("pass_rate.rate: agreement with the model's samples", agreed, options.seed),
    ]
    name = Path(options.model).name
    shown = {options.model: name, options.out: "reports"}
    command = command_line("pass_rate.py", [shown.get(w, w) for w in words or sys.argv[1:]])
    text = report(lines, checked, agreed, options, command, n_capped)
    path = Path(options.out) / "pass-rate.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {path}")
    return 0


def read(path: Path) -> pl.DataFrame:
    """Return the solutions with their question's number and the last number of the human's as answer."""
    frame = pl.read_parquet(path, columns=["id", "prompt", "response", "model", "label", "group"])
    human = frame.filter(pl.col("model") == HUMAN).select(
        "group",
        pl.col("response").map_elements(lambda t: str(last_number(t)), pl.String).alias("answer"),
    )
    numbers = human.with_row_index("question")
    joined = frame.join(numbers, on="group").sort("question", "id")
    return joined.with_columns((pl.col("label") == "incorrect").alias("is_wrong"))


def drawn(rows: pl.DataFrame, n: int, seed: int) -> list[int]:
    """Return some questions, drawn uniformly."""
    questions = rows["question"].unique().sort().to_numpy()
    return [int(q) for q in np.random.default_rng(seed).permutation(questions)[:n]]


def open_pool(folder: Path, name: str, rows: pl.DataFrame) -> Pool:
    """Read rows into a pool of their own."""
    path = folder / f"{name}.jsonl"
    lines = (json.dumps(row) for row in rows.iter_rows(named=True))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    pool = curate.open(folder / f"{name}.duckdb", create=True)
    pool.ingest(str(path))
    return pool


def verified(folder: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """Check every solution against the answer; return question, is_wrong and value."""
    pool = open_pool(folder, "solutions", rows.select("id", "prompt", "response", "answer"))
    pool.score("verified", max_failures="100%")
    found = pool.sql(
        "select r.external_id as id, s.verified.correct as correct "
        "from rows r join scores s on s.id = r.id where s.verified is not null"
    )
    known = rows.join(found, on="id")
    return known.select("question", "is_wrong", pl.col("correct").cast(pl.Float64).alias("value"))


def sampled(
    folder: Path, rows: pl.DataFrame, options: argparse.Namespace
) -> tuple[dict[str, str], int]:
    """Sample answers to each question once; return the JSON list of texts by prompt, and how many were cut."""
    humans = rows.filter(pl.col("model") == HUMAN).select("id", "prompt", "response")
    pool = open_pool(folder, "questions", humans)
    settings = {
        "k": str(options.k), "prompt": "plain", "max_new_tokens": str(options.max_new_tokens),
        "seed": str(options.seed),
    }  # fmt: skip
    pool.score("samples", model=options.model, settings=settings, max_failures="100%")
    found = pool.sql(
        "select e.prompt, s.samples.texts as texts, s.samples.n_capped as n_capped "
        "from examples e join scores s on s.id = e.id "
        "where s.samples is not null"
    )
    by_text = dict(zip(found["prompt"], found["texts"], strict=True))
    texts = {prompt: by_text[prompt] for prompt in humans["prompt"] if prompt in by_text}
    return texts, int(found["n_capped"].sum())


def agreement(rows: pl.DataFrame, texts: dict[str, str]) -> pl.DataFrame:
    """Return the pass rate of the samples against each solution, and against the answer."""
    known = rows.filter(pl.col("prompt").is_in(list(texts)))
    read: dict[str, Any] = {
        "samples.texts": np.array([texts[prompt] for prompt in known["prompt"]], dtype=object),
        "samples.n_capped": np.zeros(len(known), dtype=int),
    }
    columns = {}
    for name, reference in (("value", "response"), ("passes", "row.answer")):
        score = PassRate(reference=reference).load(LoadContext("cpu", "float32"))
        columns[name] = score([_example(row) for row in known.iter_rows(named=True)], read)["rate"]
    found = known.select("question", "is_wrong").with_columns(
        pl.Series(name, values).fill_nan(None) for name, values in columns.items()
    )
    return found.filter(pl.col("value").is_not_null())  # a solution without a number has no rate


def _example(row: dict[str, Any]) -> Example:
    turns = (
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["response"]},
    )
    return Example(row["id"], turns, row={"answer": row["answer"]})


def measured(name: str, frame: pl.DataFrame, seed: int) -> Line:
    """Compare a score with the labels; the interval draws questions, whose solutions go together."""
    values, wrong = frame["value"].to_numpy(), frame["is_wrong"].to_numpy()
    _, question = np.unique(frame["question"].to_numpy(), return_inverse=True)
    n = int(question.max()) + 1
    rng = np.random.default_rng([seed, 1])
    areas = [
        auroc(values, wrong, np.bincount(rng.integers(n, size=n), minlength=n)[question] * 1.0)
        for _ in range(BOOTSTRAPS)
    ]
    low, high = np.quantile(areas, [0.025, 0.975])
    return Line(
        name, float(values[~wrong].mean()), float(values[wrong].mean()),
        auroc(values, wrong, np.ones(len(values))), float(low), float(high), len(values), int(wrong.sum()),
    )  # fmt: skip


def report(
    lines: Sequence[Line],
    checked: pl.DataFrame,
    agreed: pl.DataFrame,
    options: argparse.Namespace,
    command: str,
    n_capped: int,
) -> str:
    """Return the report as Markdown."""
    table = _confusion(checked["value"].to_numpy() == 1, ~checked["is_wrong"].to_numpy())
    questions = agreed.group_by("question").agg(pl.col("passes").first())["passes"].to_numpy()
    return "\n".join(
        [
            "# Pass rate: right and wrong solutions of GSM8K",
            "",
            f"`{command}`",
            "",
            (
                f"{len(checked):,} solutions of `{Path(options.data).name}`, five to a question, labelled right or "
                "wrong by their publishers. `verified` compares the last number of each with that of the human's "
                f"solution. `pass_rate` compares it with {options.k} samples of `{Path(options.model).name}` "
                f"(temperature 1, at most {options.max_new_tokens} tokens, seed {options.seed}) to each of "
                f"{len(questions):,} questions, the response being the reference: no answer is known to it. One set "
                "of samples serves the solutions of a question. AUROC is the probability that a wrong solution "
                "scores below a right one, ties counted half, with the 95% bootstrap interval over "
                "questions."
            ),
            "",
            "| score | mean, right | mean, wrong | AUROC | 95% interval | solutions | wrong ones |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {line.name} | {line.right:.3f} | {line.wrong:.3f} | {line.area:.3f} "
                f"| {line.low:.3f} to {line.high:.3f} | {line.n:,} | {line.n_wrong:,} |"
                for line in lines
            ),
            "",
            f"Verifier against label, right and wrong: {table}.",
            "",
            (
                f"Against the known answer the model is right in {questions.mean():.1%} of its samples, and at least "
                f"once on {(questions > 0).mean():.0%} of the questions; {n_capped:,} of "
                f"{options.k * len(questions):,} samples were cut at {options.max_new_tokens} tokens. "
                "How far agreement with the samples can tell "
                "right from wrong is bounded by that: where no sample is right, right and wrong solutions both have "
                "rate 0."
            ),
            "",
        ]
    )


def _confusion(said: Bool[np.ndarray, " n"], labelled: Bool[np.ndarray, " n"]) -> str:
    counts = {
        f"{'right' if a else 'wrong'} and labelled {'right' if b else 'wrong'}": int(
            ((said == a) & (labelled == b)).sum()
        )
        for a in (True, False)
        for b in (True, False)
    }
    return ", ".join(f"{n:,} {what}" for what, n in counts.items())


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200, help="questions to sample answers to")
    parser.add_argument("--k", type=int, default=8, help="samples of each")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data / "math_gsm8k_solutions.parquet")
    parser.add_argument("--model", required=True, help="a causal language model")
    parser.add_argument(WORK, type=Path, help="keep the stores in this folder and go on from them")
    parser.add_argument("--out", default=str(ROOT / "reports"), help="folder of the report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
