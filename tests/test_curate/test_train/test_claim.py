"""Two runs never train into one folder at once."""

from pathlib import Path

import pytest

from curate.errors import ConfigError
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
