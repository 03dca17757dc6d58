"""Two runs never train into one folder at once."""

from pathlib import Path

import pytest

from curate.errors import ConfigError
from curate.store.parts import TMP_MARK, owner
from curate.train.checkpoints import RunFolder
from curate.train.claim import alone_in


def test_a_folder_is_held_while_a_run_works_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "run"
    with alone_in(folder):
        with (
            pytest.raises(ConfigError, match="another process trains into .*run; wait until it is"),
            alone_in(folder),
        ):
            raise AssertionError
        with alone_in(tmp_path / "made" / "other"):
            pass
    with alone_in(folder):
        pass
    assert list(folder.parent.iterdir()) == []


def test_the_other_processes_of_a_run_are_let_in(tmp_path: Path, monkeypatch) -> None:
    with alone_in(tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        with alone_in(tmp_path / "run"):
            pass


def test_whoever_holds_a_folder_removes_what_killed_runs_left_there(tmp_path: Path) -> None:
    """A container that is started again has the host and the number of the one before."""
    run, identity = RunFolder(tmp_path / "run"), {"seed": 0}
    run.open(identity, write=True)
    left = [
        run.path / f".final{TMP_MARK}{owner()}",
        run.path / "checkpoints" / f".step-00000004{TMP_MARK}{owner()}",
        run.path / "checkpoints" / f".step-00000002.old{TMP_MARK}elsewhere-1",
    ]
    for path in left:
        path.mkdir(parents=True)
    run.open(identity, write=True)
    assert all(path.exists() for path in left)
    with alone_in(run.path) as is_held:
        run.open(identity, write=True, is_held=is_held)
    assert not any(path.exists() for path in left)
