"""Parts that are cut off, changed or deleted are never used: said by name, and scored again."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from curate.api.pool import Pool
from curate.errors import StoreError
from curate.scoring.executors.worker import ShardTask, TaskReport, TaskRunner
from curate.store.parts import read_parquet, write_parquet, write_part
from curate.store.sealed import CHANGED, PartDamageError, open_sealed, unsealed


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip_page(path: Path) -> None:
    flip(path, 60)


def flip_footer(path: Path) -> None:
    data = path.read_bytes()
    flip(path, data.rindex(b"failure"))  # the name of a column


def flip(path: Path, at: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


DAMAGES: list[Callable[[Path], None]] = [cut, flip_page, flip_footer, Path.unlink]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a store with four shards, nothing scored; to be copied."""
    folder = tmp_path_factory.mktemp("ingested")
    pool = Pool(folder / "s.duckdb", create=True)
    for name in "abcd":
        rows = [{"prompt": f"{name} {n}", "response": f"the answer is {n}"} for n in range(20)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        pool.ingest(str(folder / f"{name}.jsonl"))
    return folder


class Notes:
    """A pool in a folder of its own, and what its commands say."""

    def __init__(self, ingested: Path, folder: Path) -> None:
        shutil.copytree(ingested, folder)
        self.pool = Pool(folder / "s.duckdb")
        self.said: list[str] = []
        self.pool.progress.note = self.said.append  # type: ignore[method-assign]

    def score(self) -> str | None:
        return self.pool.score("mtld", workers=1).sets[0].status.content_hash

    def parts(self) -> list[Path]:
        return sorted((self.pool.store.parts / "scores").glob("*/*.parquet"))


@pytest.fixture
def whole(ingested: Path, tmp_path: Path) -> str | None:
    """The content hash of an undisturbed run."""
    return Notes(ingested, tmp_path / "whole").score()


@pytest.fixture
def store(ingested: Path, tmp_path: Path) -> Notes:
    return Notes(ingested, tmp_path / "store")


def test_damaged_parts_of_an_earlier_run_are_scored_again(store: Notes, whole: str | None) -> None:
    store.pool.score("mtld", slice="1/1")  # leaves parts that are not committed
    damaged = store.parts()
    for damage, path in zip(DAMAGES, damaged, strict=True):
        damage(path)
    assert store.score() == whole
    said = sorted(note for note in store.said if "part " in note)
    for path, note in zip(
        damaged[:3], said, strict=True
    ):  # what is deleted is simply not there yet
        assert note.startswith(f"part {path} is damaged (")
        assert note.endswith(") and was removed; its shard is scored again")
    assert any(f"({CHANGED})" in note for note in said)
    assert store.said[-1] == "1 pass over 4 shards with 1 worker on cpu: mtld"
    assert store.pool.score("mtld").sets[0].n_scored == 0


def test_commit_names_damaged_parts(store: Notes, whole: str | None) -> None:
    store.pool.score("mtld", slice="1/1")
    path = store.parts()[2]
    flip_page(path)
    report = store.pool.commit()
    assert [(made.n_committed, made.n_done) for made in report.sets] == [(3, 3)]
    assert report.notes[0].startswith(f"mtld: part {path} is damaged (")
    assert report.notes[0].endswith("and was removed; score its shard again")
    assert store.score() == whole


@pytest.mark.parametrize(
    ("damage", "n_times"), [(cut, 1), (flip_footer, 5), (Path.unlink, 1), (Path.unlink, 5)]
)
def test_a_part_that_changes_before_it_is_committed(
    store: Notes,
    whole: str | None,
    damage: Callable[[Path], None],
    n_times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is scored again by the same run, once: what is damaged each time ends it."""
    run, count = TaskRunner.run, 0

    def damaging(runner: TaskRunner, task: ShardTask) -> TaskReport:
        nonlocal count
        report = run(runner, task)
        if task.shard_id == store.pool.store.shards()[1].shard_id and count < n_times:
            count += 1
            damage(next(iter(task.parts.values())))
        return report

    monkeypatch.setattr(TaskRunner, "run", damaging)
    if n_times == 1:
        assert store.score() == whole
        [note] = [note for note in store.said if "scored again" in note]
        is_gone = damage is Path.unlink
        assert ("is missing; its shard" if is_gone else "and was removed; its shard") in note
        return
    with pytest.raises(
        StoreError, match=r"part .* is (missing|damaged .*was removed); run the same"
    ):
        store.score()
    monkeypatch.undo()
    assert store.score() == whole


@pytest.mark.parametrize("damage", [flip_page, Path.unlink])
def test_a_committed_part_that_is_damaged_can_be_computed_again(
    store: Notes, whole: str | None, damage: Callable[[Path], None]
) -> None:
    assert store.score() == whole
    path = store.parts()[1]
    damage(path)
    [found] = [f for f in store.pool.store.check(deep=True) if f.level == "error"]
    assert str(path) in found.message
    assert found.action == (
        "restore it from a backup of the store, or have it computed again: curate doctor --rebuild, "
        "then the same curate score command"
    )
    left_out = store.pool.store.rebuild()["left_out"]
    assert left_out == ([] if damage is Path.unlink else [str(path)])
    assert store.score() == whole
    assert [f.level for f in store.pool.store.check(deep=True)] == ["ok"]


def test_a_changed_bit_anywhere_is_seen(tmp_path: Path) -> None:
    path, draw = tmp_path / "part.parquet", random.Random(0)
    table = pa.table({"id": ["0" * 32, "1" * 32], "x": [1.0, 2.0], "v": [[1.0], [2.0]]})
    write_part(path, table, {"tokens": 3})
    whole = path.read_bytes()
    for _ in range(400):
        flip(path, draw.randrange(len(whole)), draw.randrange(8))
        try:
            kept = open_sealed(path).read()
        except PartDamageError:
            continue
        finally:
            path.write_bytes(whole)
        assert unsealed(kept).equals(table)  # the name of the checksum itself had changed


def test_a_file_made_of_a_part_has_no_checksum_of_that_part(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write_part(path, pa.table({"id": ["a", "b"]}), {})
    write_parquet(path, read_parquet(path).slice(1))
    assert open_sealed(path).read().num_rows == 1
