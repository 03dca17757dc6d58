"""Our ratios of instruction-following difficulty beside those of the procedures as they were published.

``ifd_official.py --model MODEL`` takes Alpaca rows out of ``alpaca_quality.parquet``, half of them with an
input, scores them with `curate`, scores them again in a slow loop of our own that follows the published
procedures (one text at a time, full logits, a response found from the right), and prints a table. With
``--official FILE``, a line ``{"cherry": RATIO, "superfiltering": RATIO}`` a row, it compares with those
instead: run the authors' scripts on the rows that ``--write-rows FILE`` leaves.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

import curate
from jobs.compare.kept import WORK, kept_folder

ROOT: Final = Path(__file__).resolve().parent.parent.parent
FIELDS: Final = ("instruction", "input", "output")
COLUMNS: Final[Mapping[str, str]] = {"cherry": "ratio_loss", "superfiltering": "ratio_ppl"}
BEFORE: Final = "alpaca"  # the template of version 1 of the scorer, for both
SEED: Final = 0


class Agreement(NamedTuple):
    """How two scores of the same rows agree.

    Parameters
    ----------
    spearman
        Rank correlation.
    overlap
        Share of the top tenth by one that is in the top tenth by the other.
    apart
        Largest absolute difference.
    """

    spearman: float
    overlap: float
    apart: float


def main(words: Sequence[str] | None = None) -> int:
    """Draw rows, score them in both ways, print the comparison; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    rows = alpaca_rows(pl.read_parquet(options.data), options.rows)
    if options.write_rows is not None:
        options.write_rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if options.official is not None:
        official = [json.loads(line) for line in options.official.read_text().splitlines()]
    else:
        official = list(published(options.model, rows))
    with kept_folder(options.work) as work:
        ours = {variant: scored(work, rows, options.model, variant) for variant in COLUMNS}
        before = {v: scored(work, rows, options.model, v, BEFORE) for v in COLUMNS}
    theirs = {v: np.array([row[v] for row in official], dtype=np.float64) for v in COLUMNS}
    print(page(rows, theirs, ours, before))
    return 0


def alpaca_rows(frame: pl.DataFrame, n: int) -> list[dict[str, str]]:
    """Return rows in Alpaca's fields, every other one with an input, drawn with a fixed seed.

    The file joins an input to its instruction by a blank line, so rows with more than one are not used.
    """
    marked = frame.filter(pl.col("prompt").str.count_matches("\n\n") <= 1).to_dicts()
    with_input, without = [], []
    for row in marked:
        instruction, _, given = row["prompt"].partition("\n\n")
        has_input = json.loads(row["meta"])["has_input"]
        if has_input and given and row["response"].strip():
            with_input.append(_row(instruction, given, row["response"]))
        elif not has_input and not given and row["response"].strip():
            without.append(_row(instruction, "", row["response"]))
    rng = np.random.default_rng(SEED)
    half = n // 2
    chosen = [with_input[i] for i in rng.permutation(len(with_input))[:half]]
    chosen += [without[i] for i in rng.permutation(len(without))[: n - half]]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _row(*values: str) -> dict[str, str]:
    return dict(zip(FIELDS, values, strict=True))


def scored(
    work: Path,
    rows: Sequence[Mapping[str, str]],
    model: str,
    variant: str,
    template: str = "method",
) -> Float[np.ndarray, " n"]:
    """Return our ratio of every row, in their order; NaN where it is undefined."""
    data = work / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = curate.open(work / "curate.duckdb", create=True)
    pool.ingest(str(data))
    alias = f"{variant}_{template}"
    pool.score(
        "ifd", model=model, alias=alias, dtype="float32",
        settings={"ifd.variant": variant, "ifd.template": template},
    )  # fmt: skip
    found = pool.sql(
        f"select r.position, s.{alias}.{COLUMNS[variant]} as ratio from rows r join scores s using (id) "
        "order by r.position"
    )
    return found["ratio"].cast(pl.Float64).to_numpy()


def published(model_name: str, rows: Sequence[Mapping[str, str]]) -> Iterator[dict[str, float]]:
    """Yield both ratios of each row as published, one text at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model_name, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(
        model_name, dtype=torch.float32, trust_remote_code=False
    )

    def losses(lead: str, answer: str, cap: int) -> Float[np.ndarray, " T"]:
        ids = tokenizer(lead + answer, truncation=True, max_length=cap)["input_ids"]
        start = max(1, len(tokenizer(lead)["input_ids"]))  # nothing predicts a first token
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].double()
        log_p = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        return np.asarray(-log_p[start - 1 :].numpy(), dtype=np.float64)

    for row in rows:
        asked, answer = cherry_prompt(row), row["output"]
        n_asked = len(tokenizer(asked)["input_ids"])
        alone = losses("### Response:", answer, 512 - n_asked + 4).mean()
        cherry = losses(asked, answer, 512).mean() / alone
        bare = row["instruction"] + "\n" + (row["input"] + "\n" if row["input"] else "")
        n_bare = len(tokenizer(bare)["input_ids"])
        apart = losses(bare, answer, 1024).mean() - losses("", answer, 1024 - n_bare + 1).mean()
        yield {"cherry": float(cherry), "superfiltering": float(np.exp(apart))}


def cherry_prompt(row: Mapping[str, str]) -> str:
    """Return the Alpaca prompt of a row in the one of its two forms that it has."""
    given = f"\n\n### Input:\n{row['input']}" if row["input"] else ""
    paired = ", paired with an input that provides further context" if row["input"] else ""
    return (
        f"Below is an instruction that describes a task{paired}. Write a response that appropriately "
        f"completes the request.\n\n### Instruction:\n{row['instruction']}{given}\n\n### Response:"
    )


def agreement(theirs: Float[np.ndarray, " n"], ours: Float[np.ndarray, " n"]) -> Agreement:
    """Compare two scores of the same rows; rows that either leaves undefined do not count.

    Examples
    --------
    >>> agreement(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.5]))
    Agreement(spearman=1.0, overlap=1.0, apart=0.5)
    """
    known = np.isfinite(theirs) & np.isfinite(ours)
    one, other = theirs[known], ours[known]
    n_top = max(1, round(len(one) / 10))
    tops = [set(np.argsort(-values, kind="stable")[:n_top].tolist()) for values in (one, other)]
    overlap = len(tops[0] & tops[1]) / n_top
    ranks = np.stack([pl.Series(values).rank().to_numpy() for values in (one, other)])
    rank = float(np.corrcoef(ranks)[0, 1])
    return Agreement(round(rank, 12), overlap, float(np.abs(one - other).max()))


def page(
    rows: Sequence[Mapping[str, str]],
    theirs: Mapping[str, Float[np.ndarray, " n"]],
    ours: Mapping[str, Float[np.ndarray, " n"]],
    before: Mapping[str, Float[np.ndarray, " n"]],
) -> str:
    """Write the table: for each variant, rows with and without an input, before and now."""
    has_input = np.array([bool(row["input"]) for row in rows])
    lines = [
        "| variant | rows | ours | official mean | our mean | Spearman | top 10% overlap | largest difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in COLUMNS:
        for name, of in (
            ("all", has_input >= 0),
            ("with input", has_input),
            ("without", ~has_input),
        ):
            for version, values in (("before", before), ("now", ours)):
                one, other = theirs[variant][of], values[variant][of]
                found = agreement(one, other)
                lines.append(
                    f"| {variant} | {int(of.sum())} {name} | {version} | {np.nanmean(one):.4f} | "
                    f"{np.nanmean(other):.4f} | {found.spearman:.4f} | {found.overlap:.2f} | "
                    f"{found.apart:.2g} |"
                )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(prog="ifd_official.py", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=data / "alpaca_quality.parquet", metavar="FILE"
    )
    parser.add_argument("--model", default=str(data.parent / "models" / "tiny-english-6m"))
    parser.add_argument("--rows", type=int, default=98, help="how many, half of them with an input")
    parser.add_argument("--write-rows", type=Path, metavar="FILE", help="for the authors' scripts")
    parser.add_argument("--official", type=Path, metavar="FILE", help="what their scripts gave")
    parser.add_argument(WORK, type=Path, help="keep the store in this folder and go on from it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
