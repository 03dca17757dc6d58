"""What a run shares is built once, by whoever comes first."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from built import built_once


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The temporary folder of a worker, beside those of the other workers."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    return SimpleNamespace(getbasetemp=lambda: tmp_path / "popen-gw0")


def test_those_who_come_later_wait_and_share(factory: SimpleNamespace, tmp_path: Path) -> None:
    built = []

    def build(folder: Path) -> None:
        time.sleep(0.1)
        (folder / "a.txt").write_text("whole")
        built.append(folder)

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: built_once(factory, "shared", build), range(4)))
    assert folders == {*built} == {tmp_path / "shared"}
    assert len(built) == 1


def test_a_build_that_failed_is_tried_again_from_nothing(factory: SimpleNamespace) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        built_once(factory, "shared", fail)
    folder = built_once(factory, "shared", lambda folder: (folder / "a.txt").write_text("whole"))
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
