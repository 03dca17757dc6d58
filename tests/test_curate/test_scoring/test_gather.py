"""Gathering responses from models: what is asked, what enters the pool, and what is known of it."""

import json
import shutil
from collections import Counter

import pytest

import curate
from curate.errors import ConfigError, ModelError

ROWS = [
    {"prompt": f"what is {n} plus {n}", "response": f"{2 * n}", "meta": {"answer": 2 * n}}
    for n in range(4)
] + [{"prompt": "what is 1 plus 1", "response": "two"}]
SHORT = {"k": 3, "max_new_tokens": 4}


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    made = curate.open(tmp_path / "curate.duckdb", create=True)
    made.ingest(str(path))
    return made


@pytest.fixture
def other_model(tiny_model, tmp_path):
    """The tiny model without a chat template: another one to gather from."""
    folder = shutil.copytree(tiny_model, tmp_path / "other")
    for path in folder.glob("*.jinja"):
        path.unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def responses(pool):
    frame = pool.sql("select id, group_id, prompt, response, source from examples order by id")
    return frame.to_dicts()


def test_two_models_grow_the_pool_and_grape_chooses_among_all(pool, tiny_model, other_model):
    done = pool.gather(str(tiny_model), str(other_model), **SHORT).as_dict()["models"]
    for one in done:
        assert (one["n_prompts"], one["n_asked"], one["n_samples"], one["n_failed"]) == (
            4,
            4,
            12,
            0,
        )
        left = one["n_samples"] - one["n_blank"] - one["n_repeated"]
        assert one["n_added"] + one["n_in_pool"] == left > 4
    found = responses(pool)
    assert len(found) == 5 + sum(one["n_added"] for one in done)
    assert len({row["group_id"] for row in found}) == 4  # responses to the prompts there were
    assert Counter(row["source"] for row in found).keys() == {
        "rows", f"gathered:{tiny_model.name}", "gathered:other",
    }  # fmt: skip
    chosen = pool.select("grape", model=str(tiny_model), template="plain").to_polars()
    assert len(chosen) == 4 and chosen["id"].is_in([row["id"] for row in found]).all()
    among = pool.select(
        "grape", model=str(tiny_model), template="plain", where="starts_with(source, 'gathered')"
    )
    assert {row["source"] for row in found if row["id"] in set(among.to_polars()["id"])} <= {
        f"gathered:{tiny_model.name}", "gathered:other",
    }  # fmt: skip


def test_where_a_response_came_from_is_explained(pool, tiny_model):
    pool.gather(str(tiny_model), verifier="number", reference="row.meta.answer", seed=7, **SHORT)
    gathered = [row for row in responses(pool) if row["source"].startswith("gathered")]
    originals = {row["id"]: row["prompt"] for row in responses(pool)}
    for row in gathered[:3]:
        [origin] = pool.explain(row["id"])["gathered"]
        assert origin["model"] == str(tiny_model) and origin["seed"] == 7 and origin["k"] == 3
        assert (origin["temperature"], origin["max_new_tokens"]) == (1.0, 4)
        assert origin["verifier"] == "number" and origin["verdict"] in ("right", "wrong")
        assert originals[origin["prompt_of"]] == row["prompt"] and 0 <= origin["sample"] < 3
        assert 1 <= origin["n_tokens"] <= 4 and origin["template"] == "chat"
    own = next(row for row in responses(pool) if row["source"] == "rows")
    assert pool.explain(own["id"])["gathered"] == []
    # the reference goes along, so that what was gathered can be checked again
    assert pool.score("verified", settings={"reference": "row.meta.answer"}, max_failures="100%")
    checked = pool.sql(
        "select count(*) as n from scores s join examples e on e.id = s.id "
        "where starts_with(e.source, 'gathered') and s.verified.correct is null"
    )
    assert checked["n"][0] == 0


def test_nothing_is_asked_twice_and_new_prompts_are_asked(pool, tiny_model, tmp_path):
    first = pool.gather(str(tiny_model), **SHORT).as_dict()["models"][0]
    before = responses(pool)
    again = pool.gather(str(tiny_model), **SHORT).as_dict()["models"][0]
    assert (again["n_asked"], again["n_known"], again["n_added"]) == (0, 4, 0)
    assert responses(pool) == before and first["n_asked"] == 4
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps({"prompt": "name a colour", "response": "blue"}) + "\n")
    pool.ingest(str(path))
    more = pool.gather(str(tiny_model), **SHORT).as_dict()["models"][0]
    assert (more["n_asked"], more["n_known"]) == (1, 4)
    assert (
        pool.gather(str(tiny_model), **{**SHORT, "seed": 1}).as_dict()["models"][0]["n_asked"] == 5
    )


def test_only_the_prompts_asked_for(pool, tiny_model):
    plan = pool.gather(str(tiny_model), limit=3, dry_run=True, **SHORT).as_dict()["models"][0]
    assert (plan["n_prompts"], plan["n_asked"], plan["n_tokens"]) == (3, 3, 3 * 3 * 4)
    assert len(responses(pool)) == 5 and pool.store.score_sets() == []
    some = pool.gather(str(tiny_model), where="contains(prompt, '2 plus')", **SHORT)
    assert some.models[0].n_asked == 1
    with pytest.raises(ConfigError, match="no example of the pool satisfies --where"):
        pool.gather(str(tiny_model), where="n_chars > 10000", **SHORT)


def test_the_right_ones_alone_may_be_kept(pool, tiny_model):
    given = {"verifier": "regex", "pattern": r"\d", "reference": "response"}
    found = pool.gather(str(tiny_model), keep="right", **given, k=12, max_new_tokens=8)
    report = found.as_dict()["models"][0]
    assert 0 < report["verdicts"]["right"] < 48 and report["n_dropped"] > 0
    kept = [row["response"] for row in responses(pool) if row["source"].startswith("gathered")]
    assert kept and all(any(map(str.isdigit, response)) for response in kept)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 0}, "samples.k counts answers from 1, got 0"),
        ({"temperature": 0.0}, "gather.temperature=0 is greedy, so all 4 answers"),
        ({"max_new_tokens": 0}, "samples.max_new_tokens must be at least 1, got 0"),
        ({"keep": "right"}, "--keep is for a verifier, and none is given; add --verifier number"),
        ({"reference": "row.a"}, "--reference is for a verifier, and none is given"),
        ({"verifier": "python", "reference": "response"}, "verifier python reads tests"),
        ({"limit": 0}, "--limit must be at least 1, got 0"),
        ({"model_for": {"nli": "m"}}, "gather asks the models it is given, and reads no nli model"),
        ({"server": "http://127.0.0.1:1/v1"}, "samples.server needs the name of the model"),
        (
            {"server": "http://127.0.0.1:1/v1", "served_model": "m"},
            "a server serves one model, and 2",
        ),
    ],
)
def test_impossible_requests_say_what_is_possible(pool, tiny_model, given, message):
    with pytest.raises(ConfigError, match=message):
        pool.gather(str(tiny_model), "another", **given)
    assert len(responses(pool)) == 5


def test_a_missing_model_is_named_before_any_is_asked(pool, tiny_model, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        pool.gather(str(tiny_model), str(tmp_path / "nowhere"), **SHORT)
    assert pool.store.score_sets() == [] and len(responses(pool)) == 5


def test_a_prompt_without_room_is_not_answered(tiny_model, tmp_path):
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": "never seen " * 60, "response": "x"}, ROWS[1]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = curate.open(tmp_path / "long.duckdb", create=True)
    pool.ingest(str(path))
    found = pool.gather(str(tiny_model), **SHORT)
    assert (found.models[0].n_failed, found.models[0].n_samples) == (1, 3)
    for _ in range(2):
        with pytest.raises(curate.TooManyFailuresError):
            found.raise_for_failures()
        found = pool.gather(
            str(tiny_model), **SHORT
        )  # what failed is asked again, and says so again
        again = found.models[0]
        assert (again.n_asked, again.n_known, again.n_failed, again.n_added) == (1, 1, 1, 0)


def test_a_prompt_is_asked_once_whichever_of_its_examples_is_looked_at(pool, tiny_model):
    asked = []
    for response in ("response = '2'", "response = 'two'", "response in ('two', '4')"):
        found = pool.gather(str(tiny_model), where=response, **SHORT)
        asked.append((found.models[0].n_asked, found.models[0].n_known))
    assert asked == [(1, 0), (0, 1), (1, 1)]


def test_prompts_whose_answers_are_forgotten_are_asked_again(pool, tiny_model):
    pool.gather(str(tiny_model), **SHORT)
    first = responses(pool)
    for _ in range(2):
        pool.store.forget("starts_with(source, 'gathered')")
        assert len(responses(pool)) == 5
        again = pool.gather(str(tiny_model), **SHORT).models[0]
        assert (again.n_asked, again.n_known) == (4, 0) and responses(pool) == first
    assert pool.gather(str(tiny_model), **SHORT).models[0].n_known == 4
