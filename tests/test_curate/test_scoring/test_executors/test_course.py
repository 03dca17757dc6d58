"""What is finished of a shard is not run again, by whoever goes on with it, and no bit depends on it."""

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from test_curate.test_scoring.test_passes import write_shard

from curate.contracts import Column, RowScorer
from curate.errors import ExampleFailure
from curate.models.load import resolve_model
from curate.models.passes.forward import Forward
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.ifd import IFD
from curate.scorers.likelihood import Likelihood
from curate.scoring.executors import course as courses
from curate.scoring.executors.course import Course, Stripe, n_unfinished
from curate.scoring.executors.worker import WHOLE, Portion
from curate.scoring.passes import ForwardPass, WorkerPass
from curate.scoring.plan import Pass, PassMember
from curate.store import parts

TEXTS = [(f"write {n} poem{'s' * (n % 7)}", "two " * (1 + n % 9)) for n in range(40)]
SCORERS = (Likelihood(), IFD(template="plain"), Embedding(), DONOD(template="grape"))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep and tell after each batch."""
    monkeypatch.setattr(courses, "KEEP_S", 0.0)
    monkeypatch.setattr(courses, "TELL_S", 0.0)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard(tmp_path_factory.mktemp("shard") / "pool-00000.parquet", TEXTS)


@pytest.fixture(scope="module", params=[False, True], ids=["padded", "shared"])
def loaded(tiny_model: Path, request: pytest.FixtureRequest) -> ForwardPass:
    return forward_pass(tiny_model, share_prefixes=request.param)


def forward_pass(
    model: Path, batch_tokens: int = 60, *, share_prefixes: bool = False
) -> ForwardPass:
    members = tuple(PassMember(s.name, s.name, s) for s in SCORERS)
    spec = Pass(
        members, resolve_model(str(model)), "float32", batch_tokens, share_prefixes=share_prefixes
    )
    made = WorkerPass(spec).load("cpu")
    assert isinstance(made, ForwardPass)
    return made


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each batch that has run."""
    ran: list[int] = []
    run, queue = Forward.run, Forward._queue

    def counting(self: Forward, rows: Any, wants: Any) -> Any:
        if not self.is_queued:
            ran.append(len(rows))
        return run(self, rows, wants)

    def counting_queue(self: Forward, rows: Any, wants: Any) -> Any:
        ran.append(len(rows))
        return queue(self, rows, wants)

    monkeypatch.setattr(Forward, "run", counting)
    monkeypatch.setattr(Forward, "_queue", counting_queue)
    return ran


class KilledError(Exception):
    """Stands for Ctrl-C, a time that is over, or a worker's end."""


def killed_after(n: int) -> Any:
    left = [n]

    def tell(_: float) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError

    return tell


def run(
    loaded: ForwardPass, shard: Path, course: Course, portion: Portion = WHOLE
) -> dict[str, Any]:
    return {name: table for name, (table, _) in loaded.run(shard, None, portion, course).items()}


def test_a_run_that_was_killed_goes_on_where_it_was(
    loaded: ForwardPass, shard: Path, tmp_path: Path, batches: list[int]
) -> None:
    unbroken = run(loaded, shard, Course())
    n_batches = len(batches)
    folder = tmp_path / "unfinished" / "pool-00000"
    assert n_batches > 20
    for n_kept in (3, 2, 5):
        batches.clear()
        with pytest.raises(KilledError):
            run(loaded, shard, Course(folder, tell=killed_after(n_kept)))
        assert len(batches) <= n_kept + 1  # one may be queued
    batches.clear()
    told: list[float] = []
    last = Course(folder, tell=told.append)
    assert all(table.equals(unbroken[name]) for name, table in run(loaded, shard, last).items())
    assert len(batches) == n_batches - 3 - 1 - 4  # whoever goes on hears first of what was kept
    assert last.spent_s > 0
    assert told == sorted(told) and told[0] > 3  # what was kept, before a batch runs
    last.discard()
    assert not folder.exists()


def test_the_seconds_of_all_who_worked_on_it_count(
    loaded: ForwardPass, shard: Path, tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        loaded.run(shard, None, WHOLE, Course(tmp_path, tell=killed_after(5)))
    course = Course(tmp_path)
    facts = [facts for _, facts in loaded.run(shard, None, WHOLE, course).values()]
    assert {each["earlier_s"] for each in facts} == {course.spent_s}
    assert sum(each["wall_s"] for each in facts) > course.spent_s


def test_workers_share_a_shard_in_stripes(
    loaded: ForwardPass, shard: Path, tmp_path: Path, batches: list[int]
) -> None:
    unbroken = run(loaded, shard, Course())
    n_batches = len(batches)
    batches.clear()
    counts = []
    for index in (2, 0, 1):
        course = Course(tmp_path, Stripe(index, 3))
        assert run(loaded, shard, course) == {}
        course.save()
        counts.append(len(batches))
        batches.clear()
    assert sum(counts) == n_batches and max(counts) - min(counts) <= 1
    whole = run(loaded, shard, Course(tmp_path))
    assert not batches
    assert all(table.equals(unbroken[name]) for name, table in whole.items())


def test_a_damaged_file_is_removed_and_its_batches_run_again(
    loaded: ForwardPass, shard: Path, tmp_path: Path, batches: list[int]
) -> None:
    unbroken = run(loaded, shard, Course())
    n_batches = len(batches)
    with pytest.raises(KilledError):
        run(loaded, shard, Course(tmp_path, tell=killed_after(4)))
    damaged, cut, *_ = files = sorted(tmp_path.rglob("*.parquet"))
    assert len(files) == 4
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-9])
    batches.clear()
    again = run(loaded, shard, Course(tmp_path))
    assert all(table.equals(unbroken[name]) for name, table in again.items())
    assert len(batches) == n_batches - 2
    assert not damaged.exists() and not cut.exists()


def test_batches_cut_otherwise_or_with_other_blanks_are_others(
    tiny_model: Path, shard: Path, tmp_path: Path, batches: list[int]
) -> None:
    one = forward_pass(tiny_model)
    run(one, shard, done := Course(tmp_path))
    done.save()
    n_batches = len(batches)
    batches.clear()
    run(forward_pass(tiny_model, batch_tokens=30), shard, Course(tmp_path))
    assert len(batches) > n_batches
    batches.clear()
    omitted = Portion(omitted=frozenset([f"{7:032x}"]))
    without = run(one, shard, Course(tmp_path), omitted)
    assert 0 < len(batches) <= len(one.spec.renderings)  # one in each, the one it is in
    assert without["likelihood"].equals(run(one, shard, Course(), omitted)["likelihood"])


def test_progress_is_told_in_examples_and_reaches_all_of_them(
    loaded: ForwardPass, shard: Path
) -> None:
    told: list[float] = []
    run(loaded, shard, Course(tell=told.append))
    assert told == sorted(told) and told[0] < 5
    assert told[-1] == pytest.approx(len(TEXTS))


@dataclass(frozen=True)
class Words(RowScorer):
    """Counts words, and fails on some examples."""

    name: ClassVar[str] = "words"
    version: ClassVar[int] = 1
    role: ClassVar[Any] = None
    outputs: ClassVar[Any] = {
        "n": Column("int", "words"),
        "vector": Column("vector", "all the same"),
    }
    seen: list[int] = field(default_factory=list, compare=False)

    def load(self, context: Any) -> Any:
        def score(examples: Any) -> dict[str, Any]:
            if len(examples) == 1 and examples[0].id.endswith("5"):
                raise ExampleFailure("ends in five")
            if any(example.id.endswith("5") for example in examples):
                raise ValueError
            self.seen.append(len(examples))
            counts = [len(example.messages[-1]["content"].split()) for example in examples]
            return {"n": counts, "vector": [[0.1 * n, 1 / 3] for n in counts]}

        return score


def test_blocks_of_a_row_scorer_are_kept_as_batches_are(shard: Path, tmp_path: Path) -> None:
    scorer = Words()
    spec = Pass((PassMember("words", "words", scorer),), None, "float32", 1, row_block=8)
    loaded = WorkerPass(spec).load("cpu")
    unbroken: pa.Table = loaded.run(shard)["words"][0]
    assert unbroken["failure"].null_count == 37  # 5, 15 and 25 in hex
    with pytest.raises(KilledError):
        loaded.run(shard, None, WHOLE, Course(tmp_path, tell=killed_after(3)))
    first = Course(tmp_path, Stripe(0, 2))
    assert loaded.run(shard, None, WHOLE, first) == {}
    first.save()
    scorer.seen.clear()
    again = loaded.run(shard, None, WHOLE, Course(tmp_path))["words"][0]
    assert again.equals(unbroken)
    assert (
        sum(scorer.seen) == 8
    )  # the fourth block: stripe 0 had the fifth, the killed run the others


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("*.tmp-*"))


def rows_of(unit: str) -> pa.Table:
    return pa.table({"id": [unit], "failure": pa.nulls(1, pa.string())})


def kept(folder: Path, set_id: str) -> Course:
    course = Course(folder)
    course.open([set_id])
    course.finished("one", 3.0, lambda: rows_of("one"))
    return course


@pytest.mark.parametrize("is_gone", [True, False], ids=["removed", "stale"])
def test_a_shard_that_somebody_finishes_meanwhile_is_looked_at_without_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    folder = tmp_path / "shard"
    for set_id in ("a", "b"):
        kept(folder, set_id)
    assert n_unfinished(folder) == {"a": 3.0, "b": 3.0}
    assert n_unfinished(folder, ["b"]) == {"b": 3.0}
    opened = parts.open_parquet

    def removed_first(path: Path) -> Any:
        shutil.rmtree(folder)
        if not is_gone:
            raise OSError(errno.ESTALE, "Stale file handle")
        return opened(path)

    monkeypatch.setattr(parts, "open_parquet", removed_first)
    assert n_unfinished(folder) == {}


def test_a_run_goes_on_whose_shard_another_has_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = parts.sync

    def removed_first(path: Path) -> None:
        shutil.rmtree(tmp_path / "shard", ignore_errors=True)
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(parts, "sync", removed_first)
        course = kept(tmp_path / "shard", "a")
    assert not (tmp_path / "shard").exists()
    course.finished("two", 1.0, lambda: rows_of("two"))
    assert n_unfinished(tmp_path / "shard") == {"a": 1.0}
