"""On Ray, shards give the bytes that they give here, and outlive actors, nodes and the driver."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

import curate as cu
from curate.errors import ScoreError, WorkerError
from curate.scoring.executors import ray_actors
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.ray_actors import run_tasks
from curate.scoring.executors.ray_cluster import Cluster, room
from curate.scoring.executors.task_queue import TaskQueue
from curate.scoring.executors.worker import WHOLE, Portion, ShardTask, TaskReport
from tests.copied import copied

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

STORE_BYTES = 80 * 2**20
N_SHARDS = 6
KILLED = "killed or crashed, often by the system's out-of-memory killer"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Start a cluster of one node with two CPUs, which the whole module uses."""
    from ray.cluster_utils import Cluster as Nodes

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_METRICS_COLLECTION": "1"}
    head = {"num_cpus": 2, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(nodes.address, log_to_driver=False, logging_level="error")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@dataclass(frozen=True)
class Spec:
    """A pass that does what its behaviour says with shard s2, and notes which processes loaded it.

    Each shard has two examples; of s2 the second one may be poison.
    """

    behaviour: str
    folder: Path
    imports: tuple[str, ...] = ()

    def load(self, device: str) -> "Spec":
        (self.folder / f"loaded-{os.getpid()}").touch()
        return self

    def ids(self, shard: Path) -> list[str]:
        if self.behaviour == "die-loading" and shard.name == "s2":
            os.kill(os.getpid(), signal.SIGKILL)
        return [f"{shard.name}-a", f"{shard.name}-b"]

    def run(
        self, shard: Path, inputs: object = None, portion: Portion = WHOLE, course: object = None
    ) -> dict[str, Any]:
        ids = [i for i in self.ids(shard) if portion.only is None or i in portion.only]
        run = [i for i in ids if i not in portion.omitted]
        if shard.name == "s2":
            if self.behaviour == "die-loading" or (self.behaviour == "poison" and "s2-b" in run):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.behaviour == "refuse":
                raise ScoreError("shard s2: scorer 'x' returned 511 rows for 512 examples")
        time.sleep(0.3 if self.behaviour == "slow" else 0.02)
        failures = [None if i in run else "kills_worker" for i in ids]
        table = pa.table({"id": ids, "failure": pa.array(failures, pa.string())})
        return {"set": (table, {"tokens": "3"})}


class Job:
    """Some tasks on Ray: what is reported, what is said."""

    def __init__(self, folder: Path, behaviour: str = "fine", n_shards: int = N_SHARDS) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.spec: Any = Spec(behaviour, folder)
        self.tasks = [
            ShardTask(0, f"s{n}", folder / f"s{n}", 2, {"set": folder / f"s{n}.parquet"})
            for n in range(n_shards)
        ]
        self.reports: list[TaskReport] = []
        self.said: list[str] = []
        self.n_workers: list[int] = []

    def run(self, workers: int = 2, idle: Any = lambda: None, **taken: Any) -> "Job":
        cluster = Cluster(**{"max_workers": workers, **taken})
        devices = ["cpu"] * workers
        listener = Listener(
            self.reports.append, lambda at: None, idle, self.said.append, self.n_workers.append
        )
        run_tasks((self.spec,), self.tasks, devices, listener, cluster)
        return self

    @property
    def reported(self) -> list[str]:
        return sorted(report.task.shard_id for report in self.reports)

    @property
    def parts(self) -> set[str]:
        return {path.stem for path in self.folder.glob("s*.parquet")}

    @property
    def pids(self) -> list[int]:
        return [int(path.name.partition("-")[2]) for path in self.folder.glob("loaded-*")]

    def all_ended(self) -> bool:
        deadline = time.monotonic() + 15
        while any(map(is_alive, self.pids)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not any(map(is_alive, self.pids))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def names(n_shards: int = N_SHARDS) -> list[str]:
    return sorted(f"s{n}" for n in range(n_shards))


def wait_until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.2)


def test_every_task_is_reported_once_and_the_actors_end(nodes: Any, tmp_path: Path) -> None:
    job = Job(tmp_path).run()
    assert (job.reported, sum(report.tokens for report in job.reports)) == (names(), 18)
    assert job.parts == set(names())
    assert len(job.pids) <= 2, "each worker loads the pass once"
    assert max(job.n_workers) in (1, 2) and job.n_workers[-1] == 0
    assert job.all_ended()


def test_the_example_that_kills_actors_is_found_and_the_others_scored(
    nodes: Any, tmp_path: Path
) -> None:
    job = Job(tmp_path, "poison").run()
    assert job.reported == names()
    assert [report.n_failed for report in job.reports if report.task.shard_id == "s2"] == [1]
    assert "\n".join(job.said) == (
        f"shard s2 killed 2 workers ({KILLED}); parts of it are tried, to find the example that does\n"
        f"shard s2: example s2-b kills its worker ({KILLED}); recorded as failed (kills_worker), and "
        "the shard is run again without it"
    )


def test_a_shard_that_kills_actors_whatever_is_in_it_ends_the_job_by_name(
    nodes: Any, tmp_path: Path
) -> None:
    job = Job(tmp_path, "die-loading")
    with pytest.raises(WorkerError) as raised:
        job.run()
    assert str(raised.value) == (
        f"2 workers died on shard s2 ({KILLED}); finished shards are kept; check memory, lower "
        "--max-workers, and run the same command again"
    )
    assert set(job.reported) <= job.parts <= {"s0", "s1", "s3", "s4", "s5"}


def test_errors_cross_the_machines_as_they_are(nodes: Any, tmp_path: Path) -> None:
    job = Job(tmp_path, "refuse")
    with pytest.raises(ScoreError) as raised:
        job.run()
    assert str(raised.value) == "shard s2: scorer 'x' returned 511 rows for 512 examples"
    assert set(job.reported) <= job.parts <= {"s0", "s1", "s3", "s4", "s5"}


def test_a_lost_node_costs_no_shard_and_blames_none(nodes: Any, tmp_path: Path) -> None:
    second = nodes.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
    job = Job(tmp_path, "slow", n_shards=30)
    lost = []

    def lose() -> None:
        if len(job.pids) == 4 and len(job.reports) > 4 and not lost:
            lost.append(True)
            nodes.remove_node(second, allow_graceful=False)

    job.run(4, lose)
    assert lost
    assert job.reported == names(30), "nothing lost, nothing twice"
    assert job.parts == set(names(30))
    assert [line.partition(";")[0] for line in job.said] == ["a worker was lost with its node"] * 2
    wait_until(lambda: ray.cluster_resources()["CPU"] == 2)


def test_a_death_with_two_tasks_convicts_neither(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_hire", "_dismiss"):
        monkeypatch.setattr(ray_actors._Crew, name, lambda *_: None)
    said: list[str] = []
    queue = TaskQueue(deque(), print, Deaths(said.append))
    crew = ray_actors._Crew((), Cluster(), queue, print, said.append)
    both = Job(tmp_path).tasks[:2]
    node = ray.nodes()[0]["NodeID"]
    for _ in range(3):
        given = deque(ray_actors._Given(task, None) for task in both)
        queue.waiting.clear()
        crew._bury(ray_actors._Worker(None, "cpu", None, node, given), ray.exceptions.RayError())
    assert said == [] and crew.suspects == {task.key for task in both}
    assert [(task.key, task.n_retries) for task in queue.waiting] == [(t.key, 1) for t in both]


def test_a_preempted_node_is_no_fault_of_the_shard(nodes: Any) -> None:
    worker = ray_actors._Worker(None, "cpu", None, ray.nodes()[0]["NodeID"])
    for preempted in (True, False):
        died = ray.exceptions.RayActorError(preempted=preempted)
        assert ray_actors._is_innocent(worker, died) == preempted


def test_what_keeps_actors_from_starting_is_named(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here_alone = type("Pass", (), {"__module__": "nowhere", "imports": ()})
    nowhere = ModuleType("nowhere")
    vars(nowhere)["Pass"] = here_alone
    monkeypatch.setitem(sys.modules, "nowhere", nowhere)
    job = Job(tmp_path)
    job.spec = here_alone()
    with pytest.raises(WorkerError) as raised:
        job.run()
    assert str(raised.value) == (
        "workers of Ray do not start: ModuleNotFoundError: No module named 'nowhere'; every node needs "
        "the packages that are installed here, in the same versions; finished shards are kept"
    )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_finished_parts_and_ends_the_actors(
    nodes: Any, tmp_path: Path, sent: signal.Signals
) -> None:
    job = Job(tmp_path, "slow")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            job.run(2, lambda: os.kill(os.getpid(), sent) if job.reports else None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 0 < len(job.parts) < N_SHARDS
    assert set(job.reported) <= job.parts
    assert job.all_ended()


def test_it_is_said_when_no_worker_finds_room(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_actors, "PATIENCE_S", 1.5)
    job = Job(tmp_path)

    def give_up() -> None:
        if job.said:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        job.run(1, give_up, gpus_per_worker=1.0)
    [line] = job.said
    assert line == (
        "no worker of Ray has started for 0.025 minutes: each needs 1 CPU and 1 GPU, and the cluster has "
        "2 CPU (2 free), 0 GPU (0 free); waiting until there is room, or the cluster has grown"
    )


def test_work_begins_with_the_workers_that_find_room(nodes: Any, tmp_path: Path) -> None:
    assert (room(Cluster()), room(Cluster(gpus_per_worker=1.0))) == (2, 1)
    assert Job(tmp_path).run(5).reported == names()


SCORER = """
import os, time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np

from curate.contracts import Column, RowScorer
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Slowly(RowScorer):
    "The length of a response, taken with care."

    name: ClassVar[str] = "slowly"
    version: ClassVar[int] = 1
    role: ClassVar = None
    outputs: ClassVar[Mapping[str, Column]] = {"length": Column("float", "characters")}
    folder: str = ""

    def load(self, context):
        def score(examples):
            Path(self.folder, f"loaded-{os.getpid()}").touch()
            time.sleep(0.3)
            return {"length": np.array([float(e.id[0] == "a") for e in examples])}

        return score
"""
DRIVER = """
import sys

import curate as cu
import slow_scorer  # beside this script, and nowhere else

store, address, folder = sys.argv[1:]
made = cu.open(store).score(
    "slowly", executor="ray", ray_address=address, max_workers=2, settings={"folder": folder}
).as_dict()["score_sets"][0]
print(made["content_hash"], made["n_reused"] > 0)
"""


def test_a_killed_driver_takes_its_actors_along_and_the_same_command_goes_on(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unregistered: None
) -> None:
    (tmp_path / "slow_scorer.py").write_text(textwrap.dedent(SCORER))
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    (tmp_path / "made").mkdir()
    pool = cu.open(tmp_path / "made" / "curate.duckdb", create=True)
    for n in range(10):
        pool.ingest([{"prompt": f"Say {n}.", "response": f"{n}"}], source=f"s{n}")
    on_ray = copied(tmp_path / "made", tmp_path / "ray")
    job = Job(tmp_path / "pids")
    command = [
        sys.executable, tmp_path / "driver.py", on_ray.store.path, nodes.address, job.folder,
    ]  # fmt: skip
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(job.pids) < 2 or not list(on_ray.store.parts.glob("scores/*/*.parquet")):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    assert job.all_ended(), "an actor outlived its driver"
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("slow_scorer")
    [here] = pool.score("slowly", workers=1, settings={"folder": str(tmp_path)}).as_dict()[
        "score_sets"
    ]
    assert again.stdout.split() == [here["content_hash"], "True"], again.stderr
