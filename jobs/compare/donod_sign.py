"""Which sign of DON finds planted noise, and how much of DONOD is length.

``donod_sign.py --model MODEL ...`` swaps the responses of a fifth of the rows of two pools, scores them
with each model, and prints a table: how well DONOD with either sign, its columns alone, and the mean
log-probability tell the swapped rows (AUROC), what each has to do with the length of the response, and
how long the upper half by it is.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from curate.api.pool import Pool
from curate_selectors.donod import topsis
from jobs.compare.kept import kept_folder
from jobs.compare.noise_auroc import auroc, by_example, interval, open_pool, plant, read, spearman

ROOT: Final = Path(__file__).resolve().parent.parent.parent
POOLS: Final = ("qa_context.parquet", "math_gsm8k_train.parquet", "dolly_15k.parquet")
HEAD: Final = (
    "| pool | model | score | AUROC | 95% interval | Spearman with response tokens | length ratio |\n"
    "|---|---|---|---|---|---|---|"
)


def main(words: Sequence[str] | None = None) -> int:
    """Plant, score and print a table; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(HEAD, flush=True)
    for name in options.pools:
        rows = plant(read(options.data / name, options.limit, options.seed), 0.2, options.seed)
        for model in options.model:
            with kept_folder(None) as work:
                pool = open_pool(work, rows)
                pool.score(
                    "donod", "likelihood", model=model, dtype="float32", max_failures="100%",
                    template=options.template,
                )  # fmt: skip
                planted = dict(by_example(pool, rows).select("example", "planted").iter_rows())
                for line in lines(pool, planted, options.seed):
                    print(f"| {Path(name).stem} | {Path(model).name} | {line} |", flush=True)
    return 0


def lines(pool: Pool, planted: dict[str, bool], seed: int) -> Iterator[str]:
    """Yield the cells of one score after the other."""
    frame = pool.sql(
        "select id, donod.don as don, donod.nod as nod, likelihood.mean_logp as logp, "
        "likelihood.n_tokens as tokens from scores where donod.don is not null order by id"
    )
    don, nod = frame["don"].to_numpy(), frame["nod"].to_numpy()
    tokens = frame["tokens"].to_numpy()
    swapped = np.array([planted[i] for i in frame["id"]])
    for name, values in scores(don, nod, frame["logp"].to_numpy()).items():
        found = auroc(values, swapped, np.ones(len(values)))
        low, high = interval(values, swapped, seed)
        upper = np.argsort(-values, kind="stable")[: len(values) // 2]
        ratio = tokens[upper].mean() / tokens.mean()
        rank = spearman(values, tokens)
        yield f"{name} | {found:.3f} | {low:.3f} to {high:.3f} | {rank:+.2f} | {ratio:.2f}"


def scores(
    don: Float[np.ndarray, " n"], nod: Float[np.ndarray, " n"], logp: Float[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return what is compared, each higher for a row that it takes for clean.

    ``don`` is the norm before minus after.

    Examples
    --------
    >>> one = np.array([1.0, 2.0])
    >>> [values.tolist() for values in scores(one, one[::-1], one).values()][:2]
    [[0.0, 1.0], [0.5, 0.5]]
    """
    return {
        "DONOD, before_minus_after": topsis(don, nod, (0.5, 0.5)),
        "DONOD, after_minus_before": topsis(-don, nod, (0.5, 0.5)),
        "DON alone, before minus after": don,
        "NOD alone, negated": -nod,
        "mean log-probability": logp,
    }


def _parser() -> argparse.ArgumentParser:
    data = Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")
    tiny = str(data.parent / "models" / "tiny-english-6m")
    parser = argparse.ArgumentParser(prog="donod_sign.py", description=__doc__)
    parser.add_argument("--data", type=Path, default=data, metavar="DIR")
    parser.add_argument("--pools", nargs="+", default=list(POOLS), metavar="FILE")
    parser.add_argument("--model", nargs="+", default=[tiny])
    parser.add_argument("--template", default="plain", help="as in curate score")
    parser.add_argument("--limit", type=int, default=400, help="rows of each pool")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
