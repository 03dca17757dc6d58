"""Shard tasks survive dying workers, interrupts and errors; finished parts stay."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import deque
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import curate as cu
from curate.scoring.executors import forking, local
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.forking import environment_for, worker_context
from curate.scoring.executors.interrupts import without_main
from curate.scoring.executors.local import _Team, devices_for, n_devices
from curate.scoring.executors.task_queue import TaskQueue
from curate.store.parts import read_part

SCRIPT = """
import os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate.errors import ScoreError
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.local import run_tasks
from curate.scoring.executors.worker import WHOLE, ShardTask

FOLDER = Path(sys.argv[1])
WORKERS = int(sys.argv[2])
BEHAVIOUR = sys.argv[3]


@dataclass(frozen=True)
class Spec:
    behaviour: str
    folder: Path
    imports: tuple[str, ...] = ("pyarrow", "curate.store.parts")  # workers are forked

    def load(self, device):
        (self.folder / f"loaded-{os.getpid()}").touch()
        return self

    def ids(self, shard):
        return [shard.name, "other"]

    def run(self, shard, inputs=None, portion=WHOLE, course=None):
        marker = self.folder / "died"
        if portion.omitted:
            assert portion.omitted == {shard.name, "other"}  # the script kills on any part
            table = pa.table({"id": [shard.name], "failure": ["kills_worker"]})
            return {"set": (table, {"tokens": "0"})}
        if self.behaviour == "die-once" and shard.name == "s2" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "die-always" and shard.name == "s2":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "die-whole" and shard.name == "s2" and portion == WHOLE:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "refuse" and shard.name == "s2":
            raise ScoreError("shard s2: scorer 'x' returned 511 rows for 512 examples")
        if self.behaviour == "slow" or (self.behaviour != "fine" and shard.name == "s0"):
            time.sleep(0.2 if self.behaviour == "slow" else 1)
        table = pa.table({"id": [shard.name], "failure": pa.array([None], pa.string())})
        return {"set": (table, {"tokens": "3"})}


def main():
    tasks = [
        ShardTask(0, f"s{i}", Path(f"s{i}"), 1, {"set": FOLDER / f"s{i}.parquet"}) for i in range(6)
    ]
    done = []
    try:
        listener = Listener(done.append, lambda at: None, lambda: None, print)
        run_tasks((Spec(BEHAVIOUR, FOLDER),), tasks, ["cpu"] * WORKERS, listener)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
    except Exception as error:
        print(type(error).__name__, error)
        sys.exit(1)
    print(sorted(report.task.shard_id for report in done), sum(r.tokens for r in done))


if __name__ == "__main__":
    main()
"""


def start(folder: Path, workers: int, behaviour: str) -> subprocess.Popen[str]:
    script = folder / "job.py"
    script.write_text(textwrap.dedent(SCRIPT))
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), str(workers), behaviour],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=interruptible,  # noqa: PLW1509
    )


def interruptible() -> None:
    """Give a child its Ctrl-C back, which the tests' own shell may have taken away."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished_parts(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("s*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_task_is_reported_once_whatever_the_workers(tmp_path: Path, workers: int) -> None:
    job = start(tmp_path, workers, "fine")
    output = job.communicate(timeout=120)[0]
    assert output.strip() == "['s0', 's1', 's2', 's3', 's4', 's5'] 18"
    assert finished_parts(tmp_path) == [f"s{i}" for i in range(6)]


@pytest.mark.slow
def test_each_worker_loads_a_pass_once(tmp_path: Path) -> None:
    start(tmp_path, 2, "slow").communicate(timeout=120)
    assert len(list(tmp_path.glob("loaded-*"))) == 2


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_shard_run_again(tmp_path: Path) -> None:
    output = start(tmp_path, 2, "die-once").communicate(timeout=120)[0]
    assert output.strip() == "['s0', 's1', 's2', 's3', 's4', 's5'] 18"
    assert [read_part(tmp_path / f"s{n}.parquet")[1]["run"]["n_retries"] for n in (1, 2)] == [0, 1]


@pytest.mark.slow
def test_a_shard_that_kills_two_workers_only_as_a_whole_ends_the_job_by_name(
    tmp_path: Path,
) -> None:
    job = start(tmp_path, 2, "die-whole")
    output = job.communicate(timeout=120)[0]
    assert job.returncode == 1
    assert "shard s2 killed 2 workers (SIGKILL, often the system's out-of-memory killer);" in output
    assert "WorkerError 2 workers died on shard s2 (SIGKILL, often the system's" in output
    assert ", and none on a part of it; finished shards are kept; check memory, lower" in output
    assert "--workers, and run the same command again" in output
    # s0 was under way when the second worker died, and is finished all the same
    assert {"s0", "s1"} <= set(finished_parts(tmp_path)) <= {"s0", "s1", "s3", "s4", "s5"}


@pytest.mark.slow
def test_what_kills_the_only_process_is_found_by_the_next_run(tmp_path: Path) -> None:
    job = start(tmp_path, 1, "die-always")
    assert (job.communicate(timeout=120)[0], job.returncode) == ("", -signal.SIGKILL)
    assert [path.name for path in tmp_path.glob("*.started")] == ["s2.started"]
    output = start(tmp_path, 1, "die-always").communicate(timeout=120)[0]
    assert "shard s2: examples s2, other kill its worker (SIGKILL, often the system's" in output
    assert output.splitlines()[-1] == "['s0', 's1', 's2', 's3', 's4', 's5'] 15"
    assert not list(tmp_path.glob("*.started"))
    assert finished_parts(tmp_path) == [f"s{i}" for i in range(6)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_our_own_errors_cross_the_process_boundary(tmp_path: Path, workers: int) -> None:
    output = start(tmp_path, workers, "refuse").communicate(timeout=120)[0]
    assert output.startswith("ScoreError shard s2: scorer 'x' returned 511 rows for 512 examples")
    assert {"s0", "s1"} <= set(finished_parts(tmp_path)) <= {"s0", "s1", "s3", "s4", "s5"}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_keeps_finished_parts_and_leaves_no_process(
    tmp_path: Path, workers: int, sent: signal.Signals
) -> None:
    job = start(tmp_path, workers, "slow")
    while not finished_parts(tmp_path):
        time.sleep(0.02)
        assert job.poll() is None
    job.send_signal(sent)
    output = job.communicate(timeout=60)[0]
    assert (job.returncode, output.strip()) == (130, "interrupted")
    assert 0 < len(finished_parts(tmp_path)) < 6
    for part in finished_parts(tmp_path):
        assert pq.read_table(tmp_path / f"{part}.parquet").num_rows == 1
    assert_no_process_left(tmp_path)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    job = start(tmp_path, 2, "slow")
    while not finished_parts(tmp_path):
        time.sleep(0.02)
    assert len(forked_for(tmp_path)) >= 2  # a worker, and what forks it
    os.kill(job.pid, signal.SIGKILL)
    job.communicate(timeout=60)
    assert_no_process_left(tmp_path)


def assert_no_process_left(folder: Path) -> None:
    pids = [int(path.name.split("-")[1]) for path in folder.glob("loaded-*")]
    deadline = time.monotonic() + 15
    while any(alive(pid) for pid in pids) or forked_for(folder):
        assert time.monotonic() < deadline, "a worker, or what forks them, outlived its parent"
        time.sleep(0.1)


def forked_for(folder: Path) -> list[Path]:
    """Return the workers forked for a script in a folder, and what forks them: its command line has the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # it has ended
            continue
        if b"multiprocessing.forkserver" in command and bytes(folder) in command:
            found.append(path)
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_workers_take_the_device_they_are_given() -> None:
    assert devices_for("cpu", 3) == ["cpu"] * 3
    assert devices_for("cuda:1", 2) == ["cuda:1", "cuda:1"]


def test_a_device_is_meant_for_one_worker_a_core_or_a_card() -> None:
    assert n_devices("cpu") == len(os.sched_getaffinity(0))
    assert n_devices("cuda:1") == 1


def test_workers_are_forked_on_a_cpu_where_they_would_import_much() -> None:
    for imports, device in ((("json",), "cuda:0"), ((), "cpu")):
        assert worker_context(imports, device).get_start_method() == "spawn"
        assert environment_for(worker_context(imports, device)) is None
    context = worker_context(("json",), "cpu")
    assert context.get_start_method() == ("forkserver" if sys.platform == "linux" else "spawn")


def test_what_keeps_the_first_worker_from_starting_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(process: BaseProcess) -> None:
        raise BlockingIOError("no process more")

    monkeypatch.setattr(BaseProcess, "start", full)
    monkeypatch.setattr(forking, "_owner", None)
    with pytest.raises(BlockingIOError, match="no process more"):
        worker_context(("json",), "cpu")


@pytest.mark.slow
def test_a_process_forked_after_a_job_can_run_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FORKED_SCRIPT.partition("if __name__")[0] + FORKING_SCRIPT)
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (ran.returncode, ran.stdout) == (0, "True None\nFalse None\n0\n"), ran.stderr


FORKING_SCRIPT = """
def job(name):
    task = ShardTask(0, "s", Path("s"), 1, {"set": Path(name)})
    run_tasks((Spec(),), [task], ["cpu", "cpu"], Listener(lambda done: None, lambda at: None, lambda: None, print))


if __name__ == "__main__":
    os.environ.pop("CURATE_CACHE", None)
    job("first.parquet")
    child = os.fork()
    if not child:
        try:
            job("second.parquet")
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_forked_worker_has_the_modules_and_the_environment_of_now(tmp_path: Path) -> None:
    """Also when the process that forks it began before: the second job finds it running."""
    script = tmp_path / "script.py"
    script.write_text(FORKED_SCRIPT)
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (ran.returncode, ran.stdout) == (0, "True None\nTrue there\n"), ran.stderr


FORKED_SCRIPT = """
import os, sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate.scoring.executors.listener import Listener
from curate.scoring.executors.local import run_tasks
from curate.scoring.executors.worker import ShardTask


@dataclass(frozen=True)
class Spec:
    imports: tuple[str, ...] = ("wave", "curate.store.parts")

    def load(self, device):
        print("wave" in sys.modules, os.environ.get("CURATE_CACHE"), flush=True)
        return self

    def run(self, shard, inputs=None, portion=None, course=None):
        table = pa.table({"id": [shard.name], "failure": pa.array([None], pa.string())})
        return {"set": (table, {"tokens": "3"})}


if __name__ == "__main__":
    os.environ.pop("CURATE_CACHE", None)
    for value in ("there", ""):
        task = ShardTask(0, "s", Path("s"), 1, {"set": Path(f"s{value}.parquet")})
        run_tasks((Spec(),), [task], ["cpu", "cpu"], Listener(lambda done: None, lambda at: None, lambda: None, print))
        os.environ["CURATE_CACHE"] = value
"""


PLAIN_SCRIPT = """
import sys
import curate as cu

print("begun", flush=True)
pool = cu.open(sys.argv[1], create=True)
[made] = pool.score("mtld", workers=2).sets
print(made.n_scored, made.status.complete, "torch" in sys.modules)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    """Spawned processes import the main module of their parent, unless it is kept from them.

    A scorer that reads text alone needs no device, so that torch is not imported to look for one.
    """
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    for name in ("a", "b"):
        rows = [{"prompt": f"{name} {n}", "response": "so it is"} for n in range(750)]
        (tmp_path / name).with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
        pool.ingest(str(tmp_path / f"{name}.jsonl"))
    script = tmp_path / "script.py"
    script.write_text(PLAIN_SCRIPT)
    ran = subprocess.run(
        [sys.executable, script, pool.store.path], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "begun\n1500 True False\n"), ran.stderr


def test_scorers_of_the_script_itself_are_told_apart() -> None:
    class Main:
        pass

    Main.__module__, Main.__qualname__ = "__main__", "Main"
    main = sys.modules["__main__"]
    queue = TaskQueue(deque(), print, Deaths(print))
    vars(main)["Main"] = Main
    try:
        assert _Team((Main(),), queue, print).needs_main  # type: ignore[arg-type]
        text = "/home/__main__/x"
        assert not _Team((text,), queue, print).needs_main  # type: ignore[arg-type]
    finally:
        del vars(main)["Main"]


def test_a_worker_that_hangs_when_it_has_reported_everything_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "END_S", 0.05)
    process = worker_context([], "cpu").Process(target=time.sleep, args=(60,))
    with without_main():
        process.start()
    local._end(process)
    assert process.exitcode == -signal.SIGKILL
