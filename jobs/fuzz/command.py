"""Gives each family its minutes, counts what its inputs did, and saves those that break a reader."""

import argparse
import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from jobs.fuzz.families import (
    arrow,
    chat_rows,
    compressed,
    csv_text,
    expressions,
    json_text,
    manifests,
    parquet,
    recipes,
    score_tables,
    targets,
    templates,
)
from jobs.fuzz.family import Family, random_of
from jobs.fuzz.worker import CONTEXT, LIMIT_S, MEMORY_MIB, Outcome, Worker

FAMILIES: Final[dict[str, Family]] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        json_text, csv_text, parquet, arrow, compressed, chat_rows, expressions, recipes, manifests, templates,
        score_tables, targets,
    )
}  # fmt: skip
_SAVED_OF_A_KIND: Final = 3


class Count:
    """What the inputs of one family did."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.slowest = self.largest = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one input."""
        self.outcomes[outcome.outcome] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        self.largest = max(self.largest, outcome.mib)
        if outcome.problem:
            self.problems[outcome.problem] += 1

    def line(self, name: str, seconds: float) -> str:
        """Return the counts as one line."""
        counts = ", ".join(f"{n:,} {what}" for what, n in sorted(self.outcomes.items()))
        kinds = f"{len(self.problems)} kinds of findings" if self.problems else "no finding"
        return (
            f"{name}: {self.outcomes.total():,} inputs in {seconds:,.0f} s ({counts}); {kinds}; slowest "
            f"{self.slowest:.1f} s, at most {self.largest:,.0f} MiB"
        )


def main() -> int:
    """Run the families; return 1 if one of them found something."""
    options = _options()
    names = options.families or list(FAMILIES)
    print(
        f"seed {options.seed}; a finding is a crash, a traceback, more than {LIMIT_S:g} s of a processor, or more than "
        f"{MEMORY_MIB} MiB over what the process held",
        flush=True,
    )
    found = 0
    CONTEXT.set_forkserver_preload([__name__])
    with tempfile.TemporaryDirectory(prefix="curate-fuzz-") as scratch:
        os.environ["HOME"] = scratch
        os.chdir(scratch)
        for name in names:
            found += run_family(FAMILIES[name], options, Path(scratch))
    return 1 if found else 0


def run_family(family: Family, options: argparse.Namespace, scratch: Path) -> int:
    """Give a family its time, or the one input asked for; return how many inputs are findings."""
    count, worker = Count(), Worker(family, options.seed, scratch / family.name)
    started = time.monotonic()
    number = 0 if options.only is None else options.only
    try:
        while time.monotonic() - started < 60 * options.minutes:
            outcome = worker.run(number)
            count.add(outcome)
            if outcome.problem:
                _report(family, options, number, outcome, count.problems[outcome.problem])
            if options.only is not None:
                break
            number += 1
    finally:
        worker.close()
        shutil.rmtree(scratch / family.name, ignore_errors=True)
    print(count.line(family.name, time.monotonic() - started), flush=True)
    for problem, n in count.problems.most_common():
        print(f"  {n:,} times: {problem}", flush=True)
    return count.problems.total()


def _report(
    family: Family, options: argparse.Namespace, number: int, outcome: Outcome, times: int
) -> None:
    if times > _SAVED_OF_A_KIND:
        return
    attack = family.make(random_of(options.seed, family.name, number))
    folder = options.output / family.name
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / f"{options.seed}-{number}-{attack.name}"
    saved.write_bytes(attack.content)
    print(
        f"finding: {outcome.problem}\n  input: {saved} ({len(attack.content):,} bytes)\n"
        f"  again: python jobs/fuzz {family.name} --seed {options.seed} --only {number}",
        flush=True,
    )
    if times == 1 and outcome.detail:
        print("    " + "\n    ".join(outcome.detail.strip().splitlines()[-12:]), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python jobs/fuzz",
        description="Give every reader hostile input, and save what breaks it.",
    )
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of: {', '.join(FAMILIES)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each family (default 10)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 1_000_000, help="of the inputs"
    )
    parser.add_argument("--only", type=int, metavar="N", help="the one input of this number")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/fuzz"),
        help="folder for inputs that are findings",
    )
    options = parser.parse_args()
    for name in options.families:
        if name not in FAMILIES:
            parser.error(f"there is no family {name!r}; choose from: {', '.join(FAMILIES)}")
    options.output = options.output.resolve()
    return options
