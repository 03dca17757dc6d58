"""Worker processes that are forked from one process, which has imported what each of them needs.

A new interpreter takes seconds of every core to import torch and transformers. Python's fork server
imports them once; its forks begin with them, as do those that replace a worker, and those of the next
job of this process. It ends with the last process that uses it.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Final

from curate.scoring.executors.interrupts import interrupts_held, without_main

_POLL_S: Final = 0.5
_owner: int | None = None  # the process whose child forks workers, once there is one


def worker_context(imports: Sequence[str], device: str) -> SpawnContext | ForkServerContext:
    """Return how to start workers that need these modules; wait until forks of them are ready.

    Workers on a GPU, and those that need nothing heavy, are started as new interpreters, as they are
    where a fork of a process that has loaded a system's own libraries is not safe. So are those of a
    process that was itself forked after its parent had begun to fork workers: the one that forks them
    answers to the parent alone.
    Raises `KeyboardInterrupt` on Ctrl-C while the modules are imported, and whatever keeps a process
    from starting.
    """
    global _owner
    resource_tracker.ensure_running()  # starting it later would let interrupts through again
    may_fork = device == "cpu" and sys.platform == "linux" and _owner in (None, os.getpid())
    if not imports or not may_fork:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imports))
    _owner = os.getpid()
    first = context.Process(target=_nothing, daemon=True)
    failures: list[BaseException] = []

    def start() -> None:
        try:
            first.start()
        except BaseException as error:  # noqa: BLE001 (raised again below, where somebody sees it)
            failures.append(error)

    starting = threading.Thread(target=start, daemon=True)
    with without_main():
        with interrupts_held():  # as a thread that inherits this does, and what it starts
            starting.start()
        while starting.is_alive():
            starting.join(_POLL_S)
    if failures:
        raise failures[0]
    return context


def environment_for(context: SpawnContext | ForkServerContext) -> Mapping[str, str] | None:
    """Return the environment of this process for workers that would have an older one."""
    return dict(os.environ) if context.get_start_method() == "forkserver" else None


def _nothing() -> None:
    """Show that the process that forks has imported everything."""
