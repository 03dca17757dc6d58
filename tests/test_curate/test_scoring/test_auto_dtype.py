"""What `--dtype auto` is on a CPU: decided once for a store, and said."""

import json

import pytest
from noted import Noted

import curate as cu
from curate.cli.score import _plan_text
from curate.contracts.progress import SilentProgress
from curate.scoring import auto_dtype
from curate.scoring.estimate import plan
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import make_request
from curate.store.cache import cache_folder

FASTER = "measured to be 2.1 times as fast as float32 here; --dtype float32 for more digits"
SLOWER = "as bfloat16 was measured to be only 1.2 times as fast here"
STORED = "in which the store has scores of this model"


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Let the processor have bfloat16, and every model be worth a measurement; return what it finds."""
    found = {"speedup": 2.1, "times": 0, "has": True}

    def speedup(model):
        found["times"] += 1
        return found["speedup"]

    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(auto_dtype, "SMALLEST", 0)
    monkeypatch.setattr(auto_dtype, "has_bfloat16", lambda: found["has"])
    monkeypatch.setattr(auto_dtype, "bfloat16_speedup", speedup)
    return found


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "s.duckdb", create=True)
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"two {n}", "response": f"four {n}"} for n in range(4)]
    data.write_text("\n".join(map(json.dumps, rows)))
    opened.ingest(str(data))
    return opened


def asked(pool, model, scorer="likelihood", **options):
    given = {"device": "cpu", **options}
    chosen = ScoringOptions(models={"target": str(model)}, **given)
    return make_request(pool.store, scorer, scorer, {}, None, chosen)


def chosen(pool, model, scorer="likelihood", **options):
    request = asked(pool, model, scorer, **options)
    return request.dtype, request.dtype_why


def test_what_is_faster_by_far_is_taken_measured_once_and_in_the_key(pool, tiny_model, measured):
    request = asked(pool, tiny_model)
    assert (request.dtype, request.key.dtype, request.dtype_why) == ("bfloat16", "bfloat16", FASTER)
    measured["speedup"] = 1.2
    assert chosen(pool, tiny_model) == ("bfloat16", FASTER)
    assert measured["times"] == 1
    [file] = cache_folder().glob("dtypes/*.json")
    assert json.loads(file.read_text())["speedup"] == 2.1
    file.write_text("{")
    assert chosen(pool, tiny_model) == ("float32", SLOWER)
    assert json.loads(file.read_text())["speedup"] == 1.2


@pytest.mark.parametrize(
    "options",
    [{"dtype": "float32"}, {"dtype": "bfloat16"}, {"measures": False}],
    ids=["float32", "bfloat16", "several machines"],
)
def test_nothing_is_measured_where_the_dtype_is_given_or_shared(
    pool, tiny_model, measured, options
):
    assert chosen(pool, tiny_model, **options) == (options.get("dtype", "float32"), "")
    assert measured["times"] == 0


def test_nothing_is_measured_of_small_models_without_bfloat16_or_without_room(
    pool, tiny_model, measured, monkeypatch
):
    monkeypatch.setattr(auto_dtype, "free_bytes", lambda: 1)
    assert chosen(pool, tiny_model) == ("float32", "")
    monkeypatch.undo()
    monkeypatch.setattr(auto_dtype, "bfloat16_speedup", None)
    assert chosen(pool, tiny_model) == ("float32", "")
    monkeypatch.setattr(auto_dtype, "SMALLEST", 0)
    monkeypatch.setattr(auto_dtype, "has_bfloat16", lambda: False)
    assert chosen(pool, tiny_model) == ("float32", "")
    assert measured["times"] == 0


def test_a_repeated_command_never_changes_its_mind(pool, tiny_model, measured):
    first = pool.score("likelihood", model=str(tiny_model), template="plain")
    assert first.as_dict()["score_sets"][0]["n_scored"] == 4
    measured.update(speedup=0.5, has=False)
    for file in cache_folder().glob("dtypes/*.json"):
        file.unlink()
    again = pool.score("likelihood", model=str(tiny_model), template="plain")
    assert again.as_dict()["score_sets"][0]["n_reused"] == 4
    assert chosen(pool, tiny_model, "ifd") == ("bfloat16", STORED)  # another scorer goes along
    pool.score(
        "likelihood", model=str(tiny_model), template="plain", dtype="float32", alias="exact"
    )
    assert chosen(pool, tiny_model, template="plain") == ("float32", "")
    measured.update(speedup=9.0, has=True)
    assert chosen(pool, tiny_model, template="plain") == ("float32", STORED)
    assert measured["times"] == 1


def test_slices_measure_nothing(pool, tiny_model, measured):
    pool.score("likelihood", model=str(tiny_model), template="plain", slice="1/1")
    pool.commit()
    [status] = pool.store.score_sets()
    assert (status.spec["key"]["dtype"], measured["times"]) == ("float32", 0)


def test_stores_in_float32_go_on_so(pool, tiny_model, measured):
    pool.score("likelihood", model=str(tiny_model), template="plain", dtype="float32")
    assert chosen(pool, tiny_model, template="plain") == ("float32", STORED)
    assert measured["times"] == 0


def test_it_is_said_once_by_a_run_and_by_its_plan(pool, tiny_model, measured):
    options = ScoringOptions(models={"target": str(tiny_model)}, device="cpu", template="plain")
    requests = [
        make_request(pool.store, name, name, {}, None, options) for name in ("likelihood", "ifd")
    ]
    report = plan(pool.store, requests, options, None, SilentProgress())
    assert [(one.dtype, one.dtype_why) for one in report.passes] == [("bfloat16", FASTER)] * len(
        report.passes
    )
    assert f"in bfloat16, {FASTER}" in _plan_text(report.as_dict())
    said = Noted()
    auto_dtype.tell_dtypes(requests, said)
    assert said.said == [f"likelihood and ifd: bfloat16, {FASTER}"]
