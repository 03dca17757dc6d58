"""The Ray cluster of a job: where it is, what each worker takes of it, and the code that it needs."""

import importlib.util
import io
import json
import os
import pickle
import site
import socket
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, final

from curate.errors import ConfigError, MissingPackageError
from curate.models.room import name_of
from curate.scoring.executors.worker import PassSpec

ON_THIS_MACHINE: Final = "local"
RUNNING_HERE: Final = "auto"
_OWN: Final = ("curate", "curate_selectors")
_OF_A_SUBMITTED_JOB: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_KNOCK_S: Final = 10.0
_OBJECT_STORE_BYTES: Final = 200 * 2**20  # of a Ray that we start: reports and passes are small


@final
@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster, and what a job takes of it.

    Parameters
    ----------
    address
        ``HOST:PORT``; ``auto`` for the one that runs on this machine; ``local`` for one that is started
        for the job alone, which is the default where the variable ``RAY_ADDRESS`` is not set.
    gpus_per_worker
        GPUs that each worker takes, or a part of one. 0: workers compute on the CPU. A language model
        lies over all that a worker takes.
    max_workers
        Workers at most; those that find no room wait for it, which makes a cluster grow that can.
        None: as many as the nodes of now have room for.
    """

    address: str | None = None
    gpus_per_worker: float = 0.0
    max_workers: int | None = None

    @property
    def device(self) -> str:
        """The device of a worker, which sees only the GPUs that it takes."""
        if not self.gpus_per_worker:
            return "cpu"
        return name_of([f"cuda:{number}" for number in range(max(1, int(self.gpus_per_worker)))])

    @property
    def needs(self) -> dict[str, float]:
        """What each worker takes, as Ray names it."""
        return {"CPU": 1.0} | ({"GPU": self.gpus_per_worker} if self.gpus_per_worker else {})

    def __str__(self) -> str:
        return self.address or os.environ.get("RAY_ADDRESS") or ON_THIS_MACHINE


def require_ray() -> None:
    """Raise `MissingPackageError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingPackageError(
            "--executor ray needs the package ray, which is not installed; "
            "run: pip install 'curate-sft[ray]'"
        )


@contextmanager
def connected(cluster: Cluster, passes: Sequence[PassSpec]) -> Iterator[None]:
    """Be connected to a cluster, which gets the code of the passes.

    A connection that this process has already is used as it is, and kept.

    Raises
    ------
    ConfigError
        No cluster answers at the address, or this process is connected to another.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if ray.is_initialized():
        _refuse_another(cluster)
        yield
        return
    common = {"log_to_driver": False, "logging_level": "error"}
    if str(cluster) == ON_THIS_MACHINE:
        ray.init(
            "local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **common
        )
    else:
        _knock(str(cluster))
        shipped = {} if _ships_its_own() else {"py_modules": modules_of(passes)}
        try:
            ray.init(str(cluster), runtime_env=shipped, **common)
        except ConnectionError as error:
            raise _no_cluster(str(cluster), error) from error
    try:
        yield
    finally:
        ray.shutdown()


def room(cluster: Cluster) -> int:
    """Return how many workers the nodes of now have room for when nothing else runs; at least 1."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max(1, sum(_workers_on(has, cluster.needs) for has in nodes))


def _workers_on(has: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """Return how many workers one node has room for: none takes of two."""
    return min(int(has.get(name, 0.0) / n) for name, n in needs.items())


def is_lost(node: str) -> bool:
    """Whether a node, by its id, is gone or about to go."""
    import ray

    return not any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def waiting_for(cluster: Cluster, minutes: float) -> str:
    """Say that no worker has started for some minutes, and what each needs that is not there."""
    import ray

    has, free = ray.cluster_resources(), ray.available_resources()
    needs = " and ".join(f"{n:g} {name}" for name, n in cluster.needs.items())
    needs += " on one node" if cluster.gpus_per_worker > 1 else ""
    there = ", ".join(
        f"{has.get(name, 0.0):g} {name} ({free.get(name, 0.0):g} free)" for name in cluster.needs
    )
    return (
        f"no worker of Ray has started for {minutes:g} minutes: each needs {needs}, and the cluster has "
        f"{there}; waiting until there is room, or the cluster has grown"
    )


def modules_of(passes: Sequence[PassSpec]) -> list[str]:
    """Return the folders and files of modules that workers on other machines lack, to send them there.

    Those are this package, what extends it, and the user's own modules that passes name. Packages that are
    installed are not sent: they must be there.
    """
    found = _Referenced()
    found.dump(tuple(passes))
    named = {*found.modules, *(name for each in passes for name in each.imports)}
    tops = {name.partition(".")[0] for name in named}
    points = entry_points(group="curate.scorers")
    plugins = {point.module.partition(".")[0] for point in points}
    own = sorted(tops - {*_OWN, *sys.stdlib_module_names, "__main__"})
    paths = {top: path for top in (*_OWN, *own) if (path := _path_of(top)) is not None}
    return [
        str(path)
        for top, path in paths.items()
        if top in _OWN or top in plugins or not _is_installed(path)
    ]


class _Referenced(pickle.Pickler):
    """Collects the modules of classes and functions that a pickle refers to."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), 4)
        self.modules: set[str] = set()

    def reducer_override(self, value: Any) -> Any:
        """Note where a value comes from, and pickle it as ever."""
        if callable(value):
            self.modules.add(getattr(value, "__module__", None) or "builtins")
        return NotImplemented


def _path_of(top: str) -> Path | None:
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    origin = spec.origin if spec.has_location else None
    return Path(folders[0]) if folders else None if origin is None else Path(origin)


def _is_installed(path: Path) -> bool:
    installed = (
        *site.getsitepackages(),
        site.getusersitepackages(),
        *sysconfig.get_paths().values(),
    )
    return any(path.is_relative_to(folder) for folder in installed)


def _ships_its_own() -> bool:
    """Whether whoever submitted this job has said which modules go with it."""
    submitted = json.loads(os.environ.get(_OF_A_SUBMITTED_JOB, "{}"))
    return bool((submitted.get("runtime_env") or {}).get("py_modules"))


def _refuse_another(cluster: Cluster) -> None:
    import ray

    here = ray.get_runtime_context().gcs_address
    if cluster.address not in (None, RUNNING_HERE, ON_THIS_MACHINE, here):
        raise ConfigError(
            f"--ray-address {cluster.address}, but this process is connected to Ray at {here}; leave the "
            "address out, or call ray.shutdown() first"
        )


def _knock(address: str) -> None:
    """Raise `ConfigError` unless something listens at an address; Ray itself would try for minutes."""
    if address == RUNNING_HERE:
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise ConfigError(
            f"--ray-address is HOST:PORT of a Ray cluster (such as 10.0.0.1:6379), auto or local, got "
            f"{address!r}; a command reaches a cluster from outside by: ray job submit"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ConfigError:
    reason = str(error).partition("\n")[0]
    return ConfigError(
        f"no Ray cluster answers at {address} ({reason}); start one: ray start --head; or pass "
        "--ray-address local to start one on this machine for this job"
    )
