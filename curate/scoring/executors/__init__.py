"""Where shards run: processes on this machine."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from curate.scoring.executors.local import run_tasks
from curate.scoring.executors.worker import PassSpec, ShardTask, TaskReport

Executor: TypeAlias = Callable[
    [
        tuple[PassSpec, ...], Sequence[ShardTask], Sequence[str],
        Callable[[TaskReport], None], Callable[[], None], Callable[[str], None],
    ],
    None,
]  # fmt: skip

EXECUTORS: Final[dict[str, Executor]] = {"local": run_tasks}
"""By the name that ``--executor`` takes: what `run_tasks` of `local` promises, each promises."""
