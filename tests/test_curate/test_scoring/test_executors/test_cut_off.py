"""What an earlier run was killed at is known by the files it left."""

from pathlib import Path

import pytest

from curate.scoring.executors.cut_off import was_cut_off
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.local import run_tasks
from curate.scoring.executors.worker import ShardTask


def test_a_shard_is_marked_only_while_it_runs(tmp_path: Path) -> None:
    task = ShardTask(0, "s1", tmp_path / "s1", 1, {"set": tmp_path / "set" / "s1.parquet"})
    seen = []

    class Spec:
        imports: tuple[str, ...] = ()

        def load(self, device: str) -> "Spec":
            return self

        def run(self, shard: Path, *_: object) -> dict[str, object]:
            seen.append(was_cut_off(task))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks((Spec(),), [task], ["cpu"], Listener(seen.append, print, lambda: None, print))
    assert seen == [True]
    assert not was_cut_off(task)
