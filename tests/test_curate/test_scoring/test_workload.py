"""A worker is started where its start is worth it: by the work of the shards, not by their rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.models.load import ResolvedModel
from curate.models.room import GIB
from curate.registry import get_scorer
from curate.scoring import workload
from curate.scoring.plan import Pass, PassMember
from curate.scoring.workload import Workers, n_workers, seconds_of, workers_for


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """100 rows of 4,000 bytes: about 1,000 tokens each."""
    path = tmp_path / "shard.parquet"
    texts = [f"{n:04d}" * 1000 for n in range(100)]
    pq.write_table(pa.table({"messages": texts}), path, compression="none", use_dictionary=False)
    return path


@pytest.fixture
def million(tiny_model: Path) -> Pass:
    """Likelihood, one rendering, by a model of a million parameters."""
    model = ResolvedModel.__new__(ResolvedModel)
    object.__setattr__(model, "n_parameters", 1_000_000)
    return pass_of("likelihood", model)


def pass_of(scorer: str, model: ResolvedModel | None) -> Pass:
    return Pass((PassMember("s", scorer, get_scorer(scorer)()),), model, "float32", 1024)


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "n_devices", lambda device: 4)


def test_a_forward_pass_takes_its_flops_and_its_rendering(million: Pass, shard: Path) -> None:
    tokens = 100 * 4_000 / 4
    assert seconds_of(million, shard, "cpu") == pytest.approx(2e6 * tokens / 2e10 + 0.1, rel=0.05)
    assert seconds_of(million, shard, "cuda:1") == pytest.approx(
        2e6 * tokens / 5e13 + 0.1, rel=0.01
    )


def test_each_rendering_is_a_pass_of_its_own(million: Pass, shard: Path) -> None:
    twice = pass_of("ifd", million.model)
    assert len(twice.renderings) == 2
    once = seconds_of(million, shard, "cpu")
    assert seconds_of(twice, shard, "cpu") == pytest.approx(2 * once)


def test_text_alone_is_quick_and_unknown_work_is_not(million: Pass, shard: Path) -> None:
    assert seconds_of(pass_of("mtld", None), shard, "cpu") == pytest.approx(0.1)
    assert seconds_of(pass_of("length", million.model), shard, "cpu") == pytest.approx(0.1)
    assert seconds_of(pass_of("confidence", million.model), shard, "cpu") == pytest.approx(5.0)


def test_a_shard_that_is_gone_takes_no_time(million: Pass, tmp_path: Path) -> None:
    assert seconds_of(million, tmp_path / "gone.parquet", "cpu") == 0.0


@pytest.mark.parametrize(
    ("n_shards", "workers"), [(1, 1), (5, 1), (6, 2), (9, 3), (12, 4), (50, 4)]
)
def test_every_worker_has_half_a_minute_of_work(
    million: Pass, shard: Path, monkeypatch: pytest.MonkeyPatch, n_shards: int, workers: int
) -> None:
    monkeypatch.setattr(workload, "seconds_of", lambda pass_, shard, device: 10.0)
    assert n_workers([(million, [shard] * n_shards)], "cpu") == workers


def test_what_is_asked_for_wins_but_never_more_than_shards(million: Pass, shard: Path) -> None:
    assert n_workers([(million, [shard] * 10)], "cpu", asked=3) == 3
    assert n_workers([(million, [shard] * 2)], "cpu", asked=8) == 2
    assert n_workers([(million, [shard, shard]), (million, [shard])], "cpu", asked=8) == 3


def test_models_that_do_not_fit_beside_each_other_get_fewer_workers(
    million: Pass, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(million.model, "n_parameters", 2 * GIB)  # 8.5 GiB a worker, in float32
    work = [(million, [shard] * 8)]
    monkeypatch.setattr(workload, "free_bytes", lambda: 20 * GIB)
    takes = "a worker takes about 8.5 GiB for its model, and 20.0 GiB are free"
    assert workers_for(work, "cpu") == Workers(2, f"{takes}: 2 workers, not 4")
    asked = workers_for(work, "cpu", 3)
    assert asked == Workers(3, f"warning: {takes}, which is less than 3 need; type --workers 2")
    assert workers_for(work, "cpu", 2) == Workers(2)
    assert workers_for(work, "cuda", 4) == Workers(4)
    monkeypatch.setattr(workload, "free_bytes", lambda: 1)
    assert workers_for(work, "cpu").n == 1
    monkeypatch.setattr(workload, "free_bytes", lambda: None)
    assert workers_for(work, "cpu") == Workers(4)


def test_text_alone_takes_no_memory_of_a_model(
    million: Pass, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "free_bytes", lambda: 1)
    length = pass_of("length", million.model)
    assert workers_for([(length, [shard] * 8)], "cpu", 4) == Workers(4)
