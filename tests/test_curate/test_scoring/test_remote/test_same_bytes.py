"""One pool has the same bytes of scores wherever its shards are computed, and however runs are killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import curate as cu
from curate.store.objects import Objects
from tests.copied import copied
from tests.forked import Forked
from tests.killed_midway import score_and_die
from tests.published import hashes, served

ray = pytest.importorskip("ray")
pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
pytest.importorskip("moto.server", reason="moto's server is not installed: pip install moto flask")
pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore::ResourceWarning"),
]  # fmt: skip

SCORERS = ("likelihood", "mtld")
N_SHARDS = 9


@pytest.fixture(scope="module")
def machines() -> Iterator[None]:
    """An S3 server, and Ray with two CPUs, whose workers have the environment of the server's clients."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_METRICS_COLLECTION": "1"}
    with served():
        ray.init(
            "local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False,
            log_to_driver=False, logging_level="error",
        )  # fmt: skip
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pool of nine shards."""
    folder = tmp_path_factory.mktemp("same-bytes")
    pool = cu.open(folder / "curate.duckdb", create=True)
    for n in range(N_SHARDS):  # a dataset is a shard of its own
        rows = [{"prompt": f"Say {n}, {i}.", "response": f"{n} {i} " * (i + 1)} for i in range(6)]
        pool.ingest(rows, source=f"s{n}")
    assert len(pool.store.shards()) == N_SHARDS
    return folder


def scores(pool: Any) -> tuple[dict[str, str], list[Any]]:
    """Return the content hash of each set, and every value."""
    assert {status.alias for status in pool.store.score_sets() if status.complete} == {*SCORERS}
    return hashes(pool), pool.store.read("select * from scores order by id").to_pylist()


def on_ray(pool: Any, **given: Any) -> Any:
    return pool.score(*SCORERS, executor="ray", max_workers=2, **given)


def test_here_on_ray_in_slices_and_mixed_with_kills(
    machines: None, made: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Of the mixture, slices compute four shards, killed runs here some, and Ray what is left."""
    model = {"model": str(tiny_model)}
    one, two, far, slices, mixed = (copied(made, tmp_path / str(n)) for n in range(5))
    one.score(*SCORERS, workers=1, **model)
    expected = scores(one)
    two.score(*SCORERS, workers=2, **model)
    on_ray(far, **model)
    for index in (2, 1, 3):
        slices.score(*SCORERS, slice=f"{index}/3", workers=1, **model)
    slices.commit()
    assert scores(two) == scores(far) == scores(slices) == expected

    mixed.score(*SCORERS, slice="1/3", workers=1, **model)
    marker = tmp_path / "a worker died"
    killed = Forked(score_and_die, mixed.store.path, tiny_model, marker, 3, folder=tmp_path)
    out = killed.communicate(120)
    assert (killed.returncode, marker.exists()) == (-signal.SIGKILL, True), out
    killed.wait_for_workers()
    n_parts = len(list(mixed.store.parts.glob("scores/*/*.parquet")))
    assert 2 * 3 + 3 <= n_parts < 2 * N_SHARDS
    mixed.commit()
    left = [made.n_scored for made in on_ray(mixed, **model).sets]
    assert sum(left) == 6 * (2 * N_SHARDS - n_parts)
    assert scores(mixed) == expected
    retries = mixed.store.read("select sum(n_retries) as n from shard_runs")["n"].to_pylist()
    assert retries[0] >= 1, "the shard of the worker that died ran again"


def test_on_ray_by_way_of_s3(
    machines: None, made: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without the store lets Ray compute its slice; another run there does all the rest."""
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    given = {"model": str(tiny_model), "parts": f"s3://bucket/{tmp_path.name}"}
    whole, pool = (copied(made, tmp_path / name) for name in ("whole", "copy"))
    whole.score(*SCORERS, workers=1, model=str(tiny_model))
    elsewhere = cu.open(tmp_path / "elsewhere.duckdb", create=True)
    pool.score(*SCORERS, plan_only=True, **given)
    report = on_ray(elsewhere, slice="1/2", **given)
    assert (report.n_shards, report.n_written, report.n_late) == (5, 10, 0)
    assert elsewhere.store.score_sets() == []
    [*_, note] = pool.commit(given["parts"]).notes
    assert note.endswith("slice 2/2 has not begun: 4 shards missing")
    on_ray(pool, **given)
    keys = Objects.at(given["parts"]).sizes("parts")
    assert sum(key.endswith(".json") for key in keys) == 2 * N_SHARDS, "nothing was scored twice"
    assert scores(pool) == scores(whole)
