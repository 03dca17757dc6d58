"""What an earlier run was killed at is known by the files it left."""

from pathlib import Path

import pytest

from curate.scoring.executors.cut_off import forget_cut_off, was_cut_off
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.local import run_tasks
from curate.scoring.executors.worker import ShardTask


def test_a_shard_is_marked_while_it_runs_and_is_cut_off_only_where_that_ended_with_its_process(
    tmp_path: Path,
) -> None:
    task = ShardTask(0, "s1", tmp_path / "s1", 1, {"set": tmp_path / "set" / "s1.parquet"})
    mark = tmp_path / "set" / "s1.started"
    seen = []

    class Spec:
        imports: tuple[str, ...] = ()

        def load(self, device: str) -> "Spec":
            return self

        def run(self, shard: Path, *_: object) -> dict[str, object]:
            forget_cut_off(task)  # as another process does that finishes the same shard
            seen.append((mark.exists(), was_cut_off(task)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks((Spec(),), [task], ["cpu"], Listener(print, print, lambda: None, print))
    assert seen == [(True, False)]
    assert not mark.exists()
    mark.touch()  # as a process leaves it that is killed
    assert was_cut_off(task)
    forget_cut_off(task)
    assert not was_cut_off(task)
