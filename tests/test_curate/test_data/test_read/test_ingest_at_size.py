"""Ingesting at size: memory that does not grow, and real files."""

import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate.data.read.canonical import canonicalise
from curate.data.read.containers.readers import open_reader
from curate.data.read.detection import detect
from curate.data.read.ingest import IngestOptions, IngestReport, ingest
from curate.data.read.sources import resolve
from curate.store import Store

READ_ALL = """
import resource, sys
from curate.data.read.canonical import canonicalise, example_batch
from curate.data.read.detection import detect
from curate.data.read.containers.readers import open_reader
from curate.data.read.sources import resolve

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

layout, n_rows, early = None, 0, 0.0
for number, chunk in enumerate(open_reader(resolve(sys.argv[1])).chunks()):
    layout = layout or detect("pool", chunk.names(), chunk.values, "auto", {})
    n_rows += example_batch(chunk, layout, canonicalise(chunk, layout), None, "pool").num_rows
    if number == 3:
        early = peak_mib()
print(n_rows, peak_mib() - early)
"""


@pytest.mark.slow
@pytest.mark.parametrize("container", ["jsonl", "json"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, container: str) -> None:
    path = tmp_path / f"a.{container}"
    text = "x" * 200
    with path.open("w") as file:
        file.write("[\n" if container == "json" else "")
        for i in range(300_000):
            comma = ",\n" if i and container == "json" else ""
            file.write(f'{comma}{{"id": "{i}", "prompt": "{i} {text}", "response": "y"}}')
            file.write("\n" if container == "jsonl" else "")
        file.write("]\n" if container == "json" else "")
    output = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(path)], check=True, capture_output=True, text=True
    ).stdout
    n_rows, growth_mib = output.split()
    assert int(n_rows) == 300_000
    assert float(growth_mib) < 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def run(store: Store, path: Path) -> IngestReport:
    (report,) = ingest(store, str(path))
    return report


@pytest.mark.slow
def test_every_labelled_real_file_parses(realdata: Path) -> None:
    files = [p for p in sorted(realdata.glob("*.parquet")) if not p.name.startswith("pretrain_")]
    assert files
    for path in files:
        n_rows = 0
        reasons = set()
        for chunk in open_reader(resolve(str(path))).chunks():
            layout = detect(path.name, chunk.names(), chunk.values, "auto", {})
            assert layout.columns["prompt"] == "prompt"
            converted = canonicalise(chunk, layout)
            n_rows += len(converted.kept) + len(converted.bad)
            reasons |= {bad.reason for bad in converted.bad}
        assert n_rows == pq.ParquetFile(path).metadata.num_rows
        assert reasons <= {"empty response"}, path


def test_real_text_is_read_whole_without_a_prompt(store: Store, realdata: Path) -> None:
    options = IngestOptions(limit=50)
    (report,) = ingest(store, str(realdata / "pretrain_corpus_0.parquet"), options)
    assert (report.format, report.columns["text"]) == ("text", "text")
    groups = store.read("select group_id from examples").to_pylist()
    assert len({row["group_id"] for row in groups}) == 50


@pytest.mark.slow
def test_the_large_real_pool_is_ingested(store: Store, realdata: Path) -> None:
    start = time.perf_counter()
    report = run(store, realdata / "ni_pool.parquet")
    rate = report.n_read / (time.perf_counter() - start)
    sys.stdout.write(f"ni_pool: {rate:.0f} rows/s\n")
    assert report.n_read == report.n_added + report.n_duplicate == 58_561
    assert store.n_examples() == report.n_added
    assert run(store, realdata / "ni_pool.parquet").reused
