"""A clock that is set back, or years ahead, between any two looks at it changes no result."""

import itertools
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from curate.scoring.shard_log import RunRecord
from curate.scoring.watching import watched
from curate.store import Store, records
from curate.store.parts import TMP_MARK, owner, owner_is_dead

YEAR_S = 365 * 86_400.0
JUMPS_S = (0.0, -3600.0, 10 * YEAR_S, -20 * YEAR_S, 0.0, 86_400.0, -0.001)


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the clock of the wall jump at every look; that of intervals goes on."""
    jumps, now = itertools.cycle(JUMPS_S), time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=next(jumps))

    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    monkeypatch.setattr(records, "datetime", Jumping)
    yield
    monkeypatch.undo()


def scored(curate: Any, pool_file: Path, folder: str) -> Any:
    Path(folder).mkdir()
    store = ("--store", f"{folder}/curate.duckdb", "--json")
    assert curate("ingest", pool_file, *store).code == 0
    made = curate("score", "--scorer", "mtld,text_stats", "--workers", "1", *store).json
    for n in range(1, 6):
        assert curate("select", "--rank", "mtld.mtld", "-b", n, *store).code == 0
    assert curate("gc", *store).code == 0
    return made


def test_commands_end_alike_and_no_duration_is_negative(
    curate: Any, pool_file: Path, request: pytest.FixtureRequest
) -> None:
    expected = scored(curate, pool_file, "steady")
    request.getfixturevalue("jumping")
    made = scored(curate, pool_file, "jumping")
    assert [s["content_hash"] for s in made["score_sets"]] == [
        s["content_hash"] for s in expected["score_sets"]
    ]
    store = Store("jumping/curate.duckdb", create=False)
    assert all(0 <= status.wall_s < 60 for status in store.score_sets())
    runs = store.read("select seconds, tokens_per_s from shard_runs").to_pylist()
    assert runs and all(0 <= run["seconds"] < 60 for run in runs)
    assert not [f for f in store.check(deep=True) if f.level != "ok"]
    assert watched(store)["score_sets"] == []


def test_latest_is_the_selection_made_last(
    curate: Any, pool_file: Path, jumping: None, tmp_path: Path
) -> None:
    assert curate("ingest", pool_file).code == 0
    for n in (1, 2, 3, 4, 2):
        picked = curate("select", "--rank", "n_chars", "-b", n, "--json").json
        store = Store("curate.duckdb", create=False)
        assert store.selection("latest")["selection_id"] == picked["selection_id"]
    store.rebuild()
    assert store.selection("latest")["selection_id"] == picked["selection_id"]


@pytest.mark.parametrize("began_s", [YEAR_S, -YEAR_S, 0.0])
def test_a_run_that_began_tomorrow_or_a_year_ago_is_watched(
    curate: Any, pool_file: Path, monkeypatch: pytest.MonkeyPatch, began_s: float
) -> None:
    """Until a shard is committed, the speed is that of the run, which its own clock tells."""
    from curate.scoring import watching

    assert curate("ingest", pool_file).code == 0
    store = Store("curate.duckdb", create=False)
    monkeypatch.setattr(watching, "_reach", lambda *_: watching._Reach(13, 13, False))
    assert curate("score", "--scorer", "mtld", "--slice", "1/1").code == 0
    [status] = store.score_sets()
    run = RunRecord(time.time() + began_s, {status.set_id: 26}, 2, owner(), is_alive=True)
    monkeypatch.setattr(watching.RunRecord, "all_in", lambda _parts: [run])
    [shown] = watched(store)["score_sets"]
    assert (shown["state"], shown["n_done"], shown["n_left"]) == ("running", 13, 13)
    if began_s > 0:
        assert (shown["examples_per_s"], shown["seconds_left"]) == (None, None)
    else:
        assert shown["examples_per_s"] >= 0
        assert shown["seconds_left"] is None or shown["seconds_left"] >= 0


def test_what_a_living_process_writes_is_not_swept_years_ahead(
    curate: Any, pool_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert curate("ingest", pool_file).code == 0
    own = Path(f"curate.parts/.staging-a{TMP_MARK}{owner()}-00000000")
    own.mkdir()
    bare = Path(f"curate.parts/scores/.x.parquet{TMP_MARK}{owner()}")
    bare.touch()
    now = time.time
    for jump_s in (10 * YEAR_S, -10 * YEAR_S):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: now() + jump_s)
        assert not owner_is_dead(bare)
        assert curate("gc").code == 0
        assert bare.exists()
