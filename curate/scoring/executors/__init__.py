"""Where shards run: processes on this machine, or a Ray cluster."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from curate.scoring.executors import local, ray_actors
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.ray_cluster import Cluster
from curate.scoring.executors.worker import PassSpec, ShardTask

Executor: TypeAlias = Callable[
    [tuple[PassSpec, ...], Sequence[ShardTask], Sequence[str], Listener], None
]

RAY: Final = "ray"
EXECUTORS: Final[dict[str, Executor]] = {"local": local.run_tasks, RAY: ray_actors.run_tasks}
"""By the name that ``--executor`` takes: what `run_tasks` of `local` promises, each promises."""


def executor_for(name: str, cluster: Cluster) -> Executor:
    """Return an executor by its name, that of Ray for a cluster."""
    return partial(ray_actors.run_tasks, cluster=cluster) if name == RAY else EXECUTORS[name]
