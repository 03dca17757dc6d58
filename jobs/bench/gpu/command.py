"""``python jobs/bench --device cuda``: what a GPU makes of the pass, in one command of five minutes."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import torch

from curate.models.room import use_device
from jobs.bench.gpu.bench import Bench, Measurement
from jobs.bench.gpu.lines import LINES, measure
from jobs.bench.gpu.shapes import FORMULA, LENGTHS

ROOT: Final = Path(__file__).resolve().parents[3]
LIBRARIES: Final = ("torch", "transformers", "triton", "tokenizers", "numpy", "pyarrow")


def main(words: Sequence[str] | None = None) -> int:
    """Measure line by line, print and write as it goes; return 1 if any line failed."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    warnings.simplefilter("ignore")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print(f"no CUDA device here for --device {options.device}; try --device cpu --tiny")
        return 2
    use_device(options.device)  # what is measured of "the device" is the current one
    out = Path(options.out or os.environ.get("OUT") or ROOT / "reports")
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    facts = machine(options.device)
    print(json.dumps(facts), flush=True)
    bench = Bench(options.device, options.tiny, out)
    found: list[Measurement] = []

    def done(one: Measurement) -> None:
        found.append(one)
        print(f"{time.monotonic() - began:6.1f} s  {one_line(one)}", flush=True)
        write(found, facts, out)

    measure(bench, options.only or list(LINES), began + options.max_seconds, done)
    failed = [one for one in found if one.error is not None]
    print(f"{len(found)} measurements, {len(failed)} failed; wrote {out / 'gpu.json'}", flush=True)
    return 1 if failed else 0


def one_line(one: Measurement) -> str:
    """Return a measurement as a line of text."""
    if one.error is not None:
        return f"{one.line} | {one.variant} | FAILED: {one.error}"
    values = ", ".join(f"{name} {value:,.6g}" for name, value in one.values.items())
    return f"{one.line} | {one.variant} | {values} | {one.note}"


def write(found: Sequence[Measurement], facts: Mapping[str, str], out: Path) -> None:
    """Write everything measured so far; a run that is stopped keeps its figures."""
    document = {
        "machine": dict(facts),
        "notes": [LENGTHS, FORMULA],
        "measurements": [asdict(one) for one in found],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (out / "gpu.json").write_text(text, encoding="utf-8")


def machine(device: str) -> dict[str, str]:
    """Return what decides how fast a run was, apart from the code."""
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "python": platform.python_version(),
    }
    for library in LIBRARIES:
        try:
            facts[library] = version(library)
        except PackageNotFoundError:
            facts[library] = "not installed"
    if device.startswith("cuda"):
        facts["card"] = torch.cuda.get_device_name(device)
        facts["cuda"] = str(torch.version.cuda)
        facts["driver"] = _driver()
        memory = torch.cuda.get_device_properties(device).total_memory
        facts["memory"] = f"{memory / 1024**3:.1f} GiB"
    return facts


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.check_output(query, text=True, timeout=20).strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python jobs/bench", description=__doc__)
    parser.add_argument("--device", required=True, help="cuda, cuda:N, or cpu with --tiny")
    parser.add_argument(
        "--tiny", action="store_true", help="a tiny model: shows that the bench runs"
    )
    parser.add_argument(
        "--only", action="append", choices=LINES, metavar="LINE", help="this line; repeatable"
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=280,
        metavar="S",
        help="lines left after that are not run",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder of the results; else $OUT, else reports"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
