"""Run the documentation's worked example on real rows, and write what it gave into its page.

    python jobs/worked_example.py --math gsm8k_train.parquet --general dolly.parquet \
        --code code_alpaca.parquet --test gsm8k_test.parquet --model tiny-english-6m

Each file has the columns ``prompt`` and ``response``; the first rows of each are taken.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import polars as pl

from jobs.docs import ROOT, replaced
from jobs.explored import CURATE
from jobs.pages.text import table

PAGE: Final = ROOT / "docs" / "example.md"
SHARES: Final = {"math": 300, "general": 250, "code": 150}
N_TEST: Final = 60
MODEL: Final = "tiny-english-6m"
BY_METHOD: Final = {"`ifd`, 10%": "best", "`diverse`, 100": "diverse", "`--mix`, 100": "mixed"}


def main() -> int:
    """Make the example's files, run its commands in their order, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in SHARES:
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{SHARES[name]} rows")
    parser.add_argument("--test", type=Path, required=True, help=f"{N_TEST} rows to test on")
    parser.add_argument("--model", type=Path, required=True, help=f"the folder of {MODEL}")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="curate-example-") as folder:
        example = Example(Path(folder))
        example.prepare({name: getattr(options, name) for name in SHARES}, options.test)
        (example.folder / MODEL).symlink_to(options.model.resolve())
        for part, words in example.parts(list(commands(text))):
            text = replaced(text, part, words, PAGE.name)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def commands(page: str) -> Iterator[str]:
    """Yield the commands of the page that end by themselves."""
    for block in page.split("```bash\n")[1:]:
        for line in block.partition("```")[0].splitlines():
            if line.startswith("curate ") and not line.startswith("curate explore"):
                yield line


@final
@dataclass
class Example:
    """The folder of the example, in which its commands run."""

    folder: Path

    def prepare(self, sources: Mapping[str, Path], test: Path) -> None:
        """Write the pool with its own columns, and the test rows."""
        rows = [
            {"query": row["prompt"], "answer": row["response"], "category": category,
             "difficulty": 1 + len(row["response"]) // 200}
            for category, path in sources.items()
            for row in _first(path, SHARES[category])
        ]  # fmt: skip
        _write(self.folder / "own.jsonl", rows)
        _write(self.folder / "test.jsonl", _first(test, N_TEST))

    def parts(self, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Run the page's commands; yield what belongs between the markers of each part."""
        refused, kept, *rest = lines
        error = self.run(refused, fails=True)["error"]
        yield "refused", f"> {error['type']}: {error['message']}\n"
        made = self.run(kept)
        self.run(rest[0])
        self.run(rest[1])
        yield "kept", self._shares() + "\n" + _left_out(made)
        yield "trained", _training(self.run(rest[2]))
        self.run(rest[3])
        yield "proved", _proof(self.run(rest[4]))
        self.run(rest[5])

    def run(self, line: str, *, fails: bool = False) -> dict[str, Any]:
        """Run one command with ``--json``; `RuntimeError` if it ends otherwise than expected."""
        words = [*shlex.split(line)[1:], "--json"]
        done = subprocess.run(
            [sys.executable, "-c", CURATE, *words],
            cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if (done.returncode != 0) != fails:
            raise RuntimeError(f"{line}\nended with {done.returncode}:\n{done.stderr}")
        printed = done.stdout or done.stderr
        return dict(json.loads(printed[printed.index("{") :]))

    def _shares(self) -> str:
        files = {"pool": "own", **BY_METHOD}
        rows = {name: _read(self.folder / f"{file}.jsonl") for name, file in files.items()}
        counts = {name: Counter(row["category"] for row in chosen) for name, chosen in rows.items()}
        lines = [["rows", *(str(len(chosen)) for chosen in rows.values())]]
        lines += [
            [share, *(f"{counts[name][share] / len(rows[name]):.0%}" for name in rows)]
            for share in SHARES
        ]
        medians = (statistics.median(len(r["answer"]) for r in chosen) for chosen in rows.values())
        lines.append(["characters of an answer, median", *(f"{median:.0f}" for median in medians)])
        return table(["", *rows], lines) + "\n"


def _left_out(made: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{count} ({why})" for why, count in made["n_excluded"].items())
    return f"Of the {made['n_pool']} rows, `ifd` leaves out {reasons}.\n"


def _training(trained: Mapping[str, Any]) -> str:
    losses, tested = trained["history"]["loss"], trained["evaluations"][-1]["nll"]
    return (
        f"{len(losses)} steps. The mean loss of the first three is {statistics.fmean(losses[:3]):.2f} "
        f"nats a token, that of the last three {statistics.fmean(losses[-3:]):.2f}; on the test it ends "
        f"at {tested:.2f}.\n"
    )


def _proof(proof: Mapping[str, Any]) -> str:
    rows = []
    for name, arm in proof["methods"].items():
        difference = arm["delta_vs_random"]
        interval = "" if difference is None else (
            f"{difference['mean']:+.3f} ({difference['ci_low']:+.3f} to {difference['ci_high']:+.3f})"
        )  # fmt: skip
        shown = name if difference is None else f"`{name}`"
        rows.append([shown, f"{arm['mean']:.3f}", interval, arm["verdict"]])
    head = [
        "method",
        f"test loss, mean of {proof['seeds']} seeds",
        "minus random (interval)",
        "verdict",
    ]
    return f"{table(head, rows)}\n"


def _first(path: Path, n: int) -> list[dict[str, Any]]:
    return pl.read_parquet(path, columns=["prompt", "response"]).head(n).to_dicts()


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
