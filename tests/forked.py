"""Work in processes of their own that can be killed: forked from one that has imported torch.

A new interpreter takes ten seconds of processor time to import what a command needs.
"""

import importlib
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

COMMANDS = ("commit", "export", "ingest", "score", "select", "status", "train")
METHODS = [
    name
    for package in ("curate.scorers", "curate_selectors")
    for folder in importlib.import_module(package).__path__
    for _, name, _ in pkgutil.iter_modules([folder], f"{package}.")
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(  # pandas: pyarrow imports it with the first array
    ["torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
     "transformers.models.llama.modeling_llama", "tokenizers", "duckdb", "pandas",
     "pyarrow.pandas_compat", "pydantic.type_adapter", "rich.progress", "rich.table",
     "curate.cli.app", "curate.cli.options", *(f"curate.cli.{name}" for name in COMMANDS),
     "curate.api.pool", "curate.store.store", "curate.data.read.ingest", "curate.scoring.job",
     "curate.scoring.passes", "curate.select.run", "curate.data.write.export", "curate.train.api",
     *METHODS]
)  # fmt: skip


class Forked:
    """A function that runs in a process of its own, in a session of its own, as `Popen` shows one.

    Parameters
    ----------
    function, args
        What it runs; both are pickled.
    folder
        Where its output goes, in files that `communicate` reads.
    """

    def __init__(self, function: Callable[..., object], *args: object, folder: Path) -> None:
        number = len(list(folder.glob("forked-*.out")))
        self._files = folder / f"forked-{number}.out", folder / f"forked-{number}.err"
        work = (function, args, Path.cwd(), dict(os.environ), self._files)
        self._process = CONTEXT.Process(target=_run, args=work)
        self._process.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the same."""
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; return what it printed and what went to its standard error."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        out, err = (  # it may have been killed before there was a file
            path.read_text(encoding="utf-8") if path.exists() else "" for path in self._files
        )
        return out, err

    def wait_for_workers(self, timeout: float = 20) -> None:
        """Wait until none of the processes it started is left: those of a killed one end by themselves.

        Until then they may still publish what they were at.
        """
        deadline = time.monotonic() + timeout
        while left := [one for one in psutil.process_iter() if _is_of(one, self.pid)]:
            assert time.monotonic() < deadline, (
                f"{left} outlive process {self.pid} by {timeout:g} s"
            )
            time.sleep(0.01)


def _is_of(process: psutil.Process, session: int) -> bool:
    """Tell whether a process runs in a session, zombies apart: whoever adopts these may not wait."""
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False


def forked_curate(words: list[str], folder: Path) -> Forked:
    """Start ``curate WORDS`` in a process of its own; ``folder`` takes what it prints."""
    return Forked(_curate, words, folder=folder)


def _curate(words: list[str]) -> None:
    from curate.cli import main

    sys.argv = ["curate", *words]
    main()


def _run(
    function: Callable[..., object],
    args: tuple[object, ...],
    folder: Path,
    environment: dict[str, str],
    files: tuple[Path, Path],
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # whoever runs the tests may have it ignored: nohup
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    function(*args)
