"""A scoring run of two workers that loses one of them, and is killed itself a few shards later."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any


def score_and_die(store: Path, model: Path, marker: Path, n_shards: int) -> None:
    """Score with two workers: the first one to take a shard is killed, then, after some shards, all.

    These include the shard that the dead worker was at: whoever is at another waits for it, as a worker
    that is started anew takes long to be. ``marker`` is a file that tells that the first one has died.
    """
    import curate as cu
    from curate.scoring.executors import local, worker
    from curate.scoring.shard_log import ShardLog

    driver, run, write, reports = os.getpid(), worker.TaskRunner.run, ShardLog.write, []
    ran_again = marker.with_name(f"{marker.name}, and its shard ran again")

    def dying_once(self: Any, task: Any) -> Any:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            while not (task.n_retries or ran_again.exists()):
                time.sleep(0.01)
            report = run(self, task)
            ran_again.touch()
            return report
        os.kill(os.getpid(), signal.SIGKILL)

    def dying_after(self: Any, report: Any) -> None:
        write(self, report)
        reports.append(report)
        if len(reports) >= n_shards:
            os.kill(driver, signal.SIGKILL)

    worker.TaskRunner.run = dying_once  # type: ignore[method-assign]
    ShardLog.write = dying_after  # type: ignore[method-assign]
    local.worker_context = lambda *_: multiprocessing.get_context("fork")  # type: ignore[assignment]
    os.environ["OMP_NUM_THREADS"] = "1"
    cu.open(store).score("likelihood", "mtld", model=str(model), workers=2)
