"""The explore page of a store, for as long as somebody looks at it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CURATE: Final = "from curate.cli import main; main()"


@contextmanager
def explore_page(
    store: Path, marker: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run ``curate explore`` over a store as long as the block lasts; yield its address."""
    with explore_server(store, marker, environment) as (url, _):
        yield url


@contextmanager
def explore_server(
    store: Path, marker: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """Do what `explore_page` does; yield the address and the number of the process."""
    words = ["explore", "--store", str(store), "--no-browser", "--json", "--marker", marker]
    process = subprocess.Popen(
        [sys.executable, "-c", CURATE, *words], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        printed = ""
        while not printed.endswith("}\n"):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"curate explore ended with {process.wait()}")
            printed += line
        yield str(json.loads(printed)["url"]), process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        process.stdout.close()
