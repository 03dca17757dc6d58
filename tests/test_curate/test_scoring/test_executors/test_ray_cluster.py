"""Which Ray a job goes to, what its workers take of it, which code is sent, and what is refused."""

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import curate
from curate.errors import ConfigError, MissingPackageError
from curate.scoring.executors import EXECUTORS, executor_for
from curate.scoring.executors.ray_cluster import (
    Cluster,
    connected,
    modules_of,
    room,
    waiting_for,
)
from curate.scoring.options import ScoringOptions


def on_ray(**given: Any) -> ScoringOptions:
    return ScoringOptions(executor="ray", **given)


def refusal(of: Callable[[], object], kind: type[Exception] = ConfigError) -> str:
    with pytest.raises(kind) as refused:
        of()
    return str(refused.value)


def test_each_option_is_for_one_executor() -> None:
    assert refusal(lambda: ScoringOptions(max_workers=2)) == (
        "--max-workers is for Ray; add --executor ray, or leave it out"
    )
    assert refusal(lambda: on_ray(workers=3)) == (
        "--workers 3 counts processes of this machine; with --executor ray say --max-workers 3"
    )
    assert refusal(lambda: ScoringOptions(executor="spark")) == (
        "--executor is local or ray, got 'spark'"
    )


def test_what_a_worker_cannot_take_is_refused() -> None:
    assert refusal(lambda: on_ray(max_workers=0)) == "--max-workers must be at least 1, got 0"
    for gpus in (-1.0, 1.5):
        assert refusal(lambda gpus=gpus: on_ray(num_gpus_per_worker=gpus)) == (
            f"--num-gpus-per-worker is 1, or a part such as 0.5 where several share one, got {gpus:g}"
        )
    for device, gpus in (("cuda", 0.0), ("cpu", 1.0)):
        said = refusal(lambda d=device, g=gpus: on_ray(device=d, num_gpus_per_worker=g))
        assert said.startswith(f"--device {device} with --num-gpus-per-worker {gpus:g}: on Ray a")
        assert said.endswith("leave --device out")


def test_workers_compute_where_they_have_a_gpu() -> None:
    assert on_ray().worker_device(runs_weights=True) == "cpu"
    assert on_ray().worker_dtype() == "float32"
    shared = on_ray(num_gpus_per_worker=0.5, max_workers=4)
    assert shared.worker_device(runs_weights=True) == "cuda:0"
    assert (shared.worker_dtype(), shared.asked_workers) == ("bfloat16", 4)
    assert shared.cluster.needs == {"CPU": 1.0, "GPU": 0.5}
    assert on_ray(num_gpus_per_worker=1, dtype="float32").worker_dtype() == "float32"


def test_a_worker_of_several_gpus_has_room_on_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    nodes = [(8.0, 3.0, True), (8.0, 4.0, True), (8.0, 8.0, False), (1.0, 8.0, True)]
    described = [
        {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus, alive in nodes
    ]
    monkeypatch.setattr(ray, "nodes", lambda: described)
    found = {gpus: room(Cluster(gpus_per_worker=gpus)) for gpus in (0.5, 1, 2, 4, 9)}
    assert found == {0.5: 6 + 8 + 1, 1: 3 + 4 + 1, 2: 1 + 2 + 1, 4: 1 + 1, 9: 1}
    for name in ("cluster_resources", "available_resources"):
        monkeypatch.setattr(ray, name, lambda: {"CPU": 17.0, "GPU": 15.0})
    assert "each needs 1 CPU and 9 GPU on one node, and" in waiting_for(Cluster("", 9), 5)


def test_the_cluster_is_given_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert str(Cluster()) == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert (str(Cluster()), str(Cluster("auto"))) == ("10.0.0.1:6379", "auto")


def test_executors_are_found_by_name() -> None:
    assert executor_for("local", Cluster()) is EXECUTORS["local"]
    chosen: Any = executor_for("ray", Cluster("auto"))
    assert (chosen.func, chosen.keywords) == (EXECUTORS["ray"], {"cluster": Cluster("auto")})


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "ray" else find(n))
    assert refusal(on_ray, MissingPackageError) == (
        "--executor ray needs the package ray, which is not installed; "
        "run: pip install 'curate-sft[ray]'"
    )


def enter(address: str) -> None:
    with connected(Cluster(address), ()):
        pass


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(lambda: enter(address))
    assert said.startswith(f"no Ray cluster answers at {address} (")
    assert said.endswith(
        "; start one: ray start --head; or pass --ray-address local to start one on this machine for "
        "this job"
    )
    assert refusal(lambda: enter("ray://head:10001")) == (
        "--ray-address is HOST:PORT of a Ray cluster (such as 10.0.0.1:6379), auto or local, got "
        "'ray://head:10001'; a command reaches a cluster from outside by: ray job submit"
    )


def test_the_code_of_this_package_and_of_the_user_is_sent_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_file.py").write_text("class Scorer:\n    pass\n")
    (tmp_path / "of_several").mkdir()
    (tmp_path / "of_several" / "__init__.py").write_text("from .part import Scorer\n")
    (tmp_path / "of_several" / "part.py").write_text("class Scorer:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, sent in (("one_file", "one_file.py"), ("of_several", "of_several")):
        scorer = __import__(name).Scorer()
        own, selectors, *others = modules_of(
            [SimpleNamespace(scorer=scorer, imports=("torch", "json"))]
        )
        assert own == str(Path(curate.__file__).parent)
        assert Path(selectors).name == "curate_selectors"
        assert others == [str(tmp_path / sent)]
