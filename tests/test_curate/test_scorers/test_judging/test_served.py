"""A judge on a server: against a small one in a thread, which answers and fails as it is told."""

import json
import math
import re

import numpy as np
import pytest
from answering import answering, chat_reply

import curate as cu
from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError, ModelError
from curate.models.generation import endpoint
from curate.models.generation.addresses import KEY_VARIABLE
from curate.registry import build
from curate.scorers.judge import Judge
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import request_for

KEY = "sk-secret-9f8e7d"
EXAMPLES = [
    Example(
        f"{n:032x}",
        ({"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": "blue"}),
    )
    for n in range(5)
]


def distribution(number):
    """Probabilities over the scale that depend on the question's number."""
    weights = np.random.default_rng(number).dirichlet(np.ones(5)) * 0.9
    return {str(answer): math.log(weight) for answer, weight in enumerate(weights, 1)}


def rate(body):
    number = int(re.search(r"say (\d+)", body["messages"][0]["content"])[1])
    others = distribution(number)
    likeliest = max(others, key=others.get)
    text = f"score: ({likeliest})"
    places = [("score", {}), (":", {}), (" (", {}), (likeliest, others), (")", {})]
    return chat_reply(text, places)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setattr(endpoint.Endpoint, "__init__", _patient(endpoint.Endpoint.__init__))
    with answering(rate) as made:
        yield made


def _patient(init):
    return lambda self, *given, **named: init(self, *given, **{"wait_s": 0.001, **named})


def judge(server, **settings):
    return Judge(server=server.url, served_model="tiny", **settings)


def load(server, **settings):
    return judge(server, **settings).load(LoadContext("cpu", "float32"))


def pool_of(folder, n):
    rows = [{"prompt": f"say {i}", "response": "blue"} for i in range(n)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(folder / "pool.jsonl"))
    return pool


def settings_of(server, **more):
    return {"server": server.url, "served_model": "tiny", **more}


def test_scores_are_expected_answers_in_the_order_of_the_examples(server):
    found = load(server)(EXAMPLES)
    for n in range(5):
        weights = np.exp(list(distribution(n).values()))
        assert found["score"][n] == pytest.approx(weights @ np.arange(1, 6) / 0.9)
        assert found["mass"][n] == pytest.approx(0.9)
    assert not found["written"].any() and list(found[FAILURE]) == [None] * 5
    assert found[TOKENS_RUN].tolist() == [54] * 5
    path, body = server.asked[0]
    assert path == "/v1/chat/completions" and body["max_tokens"] == 16
    said = body["messages"][0]["content"]
    assert said.startswith("Rate the quality of the response below") and "say " in said
    assert said.endswith("score: (number)")


def test_without_probabilities_the_number_is_the_score_and_says_so(server):
    server.reply = lambda body: chat_reply("4/5")
    found = load(server)(EXAMPLES[:2])
    assert found["score"].tolist() == [4, 4] and found["mass"].tolist() == [1, 1]
    assert found["written"].tolist() == [True, True]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (chat_reply("It is a fine answer, with 2 or 3 faults."), "no_score"),
        (chat_reply("I cannot rate that."), "no_score"),
        (chat_reply(""), "no_score"),
        (chat_reply("score: 7"), "no_score"),
        (chat_reply(None, finish_reason="content_filter"), "declined"),
        (chat_reply("4", [("4", {"4": math.log(0.3), "ok": math.log(0.6)})]), "low_mass"),
        (400, "server_refused: 400 fault 400 for None"),
    ],
)
def test_what_is_no_score_has_a_name_and_fails_alone(server, reply, reason, monkeypatch):
    monkeypatch.setattr(endpoint, "CONCURRENT", 1)
    server.faults = [reply]
    assert list(load(server)(EXAMPLES)[FAILURE]) == [reason, None, None, None, None]


def test_a_judge_that_only_writes_prose_ends_the_run(server, tmp_path):
    server.reply = lambda body: chat_reply("What a lovely answer!")
    pool = pool_of(tmp_path, 20)
    with pytest.raises(
        ModelError,
        match=r"none of 20 replies of 'tiny' holds a number on the scale 1-5; the first one: "
        r"'What a lovely answer!'; .*judge.max_new_tokens=N",
    ):
        pool.score("judge", settings=settings_of(server), workers=1)
    assert pool.sql("select count(*) as n from failures")["n"].to_list() == [0]


def test_busy_slow_and_broken_replies_are_asked_for_again(server):
    server.faults = [(429, {"Retry-After": "0"})] * 9 + [503, b'{"choices": [', "<html>", 500]
    found = load(server)(EXAMPLES)
    assert list(found[FAILURE]) == [None] * 5 and len(server.asked) == 18


def test_a_server_gone_midway_resumes_and_blames_no_example(server, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.store.pool.cut.MIN_SHARD", 32)
    pool = pool_of(tmp_path, 96)
    assert len(pool.store.shards()) == 3
    left = 50

    def until_gone(body):
        nonlocal left
        left -= 1
        return rate(body) if left > 0 else 503

    server.reply = until_gone
    run = {"settings": settings_of(server), "workers": 1}
    with pytest.raises(ModelError, match=r"refuses requests: 503.*run the same command again"):
        pool.score("judge", **run)
    assert pool.sql("select count(*) as n from failures")["n"].to_list() == [0]
    asked = len(server.asked)
    server.reply = rate
    [scored] = pool.score("judge", **run).sets
    assert scored.n_reused == 32 and scored.n_scored == 64
    assert len(server.asked) - asked == 64
    whole = pool_of(_made(tmp_path / "whole"), 96)
    [again] = whole.score("judge", **run).sets
    assert again.status.content_hash == scored.status.content_hash


def _made(folder):
    folder.mkdir()
    return folder


def test_the_key_holds_question_scale_and_name_but_no_address(server):
    def key(**settings):
        scorer = Judge(**{"served_model": "tiny", "server": server.url, **settings})
        return request_for(scorer, "judge", None, ScoringOptions(device="cpu")).key

    assert key().model is None and "server" not in key().config
    others = [{"served_model": "other"}, {"scale": "1-9"}, {"preset": "accuracy"},
              {"prompt": "Is {response} kind?"}, {"max_new_tokens": 99}]  # fmt: skip
    assert len({key(**other).set_id for other in [{}, *others]}) == 6
    moved = key(server="https://api.example.com/v1", remote=True, key_variable="MY_KEY")
    assert moved == key()


@pytest.mark.parametrize("scorer", ["judge", "tags"])
def test_reasoning_is_shown_to_a_server_unless_it_is_dropped(scorer, server, tmp_path):
    said = {"role": "assistant", "content": "blue", "reasoning_content": "green? no"}
    row = {"messages": [{"role": "user", "content": "say 3"}, said]}
    (tmp_path / "pool.jsonl").write_text(json.dumps(row) + "\n")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    prompt = {"prompt": "Rate, or tag: {instruction} {response}"}
    run = {"settings": {**settings_of(server), **prompt}, "max_failures": "100%"}
    [whole] = pool.score(scorer, **run).sets
    [dropped] = pool.score(scorer, **run, reasoning="drop").sets
    shown = [body["messages"][0]["content"] for _, body in server.asked]
    assert len(shown) == 2 and "green? no" in shown[0]
    assert shown[1] == shown[0].replace("green? no\n", "")
    template = whole.status.spec["key"]["template"]
    assert dropped.status.spec["key"]["template"] == f"{template};reasoning=drop"
    assert dropped.status.spec["run"]["chat"]["reasoning"] == "drop"
    [again] = pool.score(scorer, **run, reasoning="drop").sets
    assert again.n_reused == 1 and len(server.asked) == 2


def test_a_moved_server_scores_nothing_twice_and_the_plan_counts_requests(server, tmp_path):
    pool = pool_of(tmp_path, 4)
    run = {"settings": settings_of(server)}
    [planned] = pool.score("judge", **run, dry_run=True).as_dict()["plan"]["passes"]
    assert planned["requests"] == 4 and planned["tokens"] > 4 * 100 and not server.asked
    assert planned["model"] is None
    pool.score("judge", **run)
    assert len(server.asked) == 4
    with answering(rate) as other:
        [scored] = pool.score("judge", settings=settings_of(other)).sets
        assert scored.n_reused == 4 and not other.asked
        moved = {f"judge.{name}": value for name, value in settings_of(other).items()}
        assert len(pool.select(rank="judge.score", budget=2, settings=moved)) == 2


def test_no_file_and_no_output_holds_the_key(server, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MY_KEY", KEY)
    pool = pool_of(tmp_path, 20)
    run = {"settings": settings_of(server, key_variable="MY_KEY"), "workers": 1}
    server.faults = [401]
    with pytest.raises(ModelError, match=r"Bearer \[key\]; set the environment variable MY_KEY"):
        pool.score("judge", **run)
    server.faults = [422]
    pool.score("judge", **run, max_failures="100%")
    pool.select(rank="judge.score", budget=3).export(tmp_path / "subset.jsonl")
    assert set(server.keys) == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert [path for path in files if server.url.encode() in path.read_bytes()] == []
    assert KEY not in "".join(capfd.readouterr())
    reasons = pool.sql("select reason from failures")["reason"].to_list()
    assert reasons == ["server_refused: 422 fault 422 for Bearer [key]"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"server": "https://api.example.com/v1", "served_model": "m"}, "judge.remote=true"),
        ({"server": "http://10.0.0.9:8000/v1", "served_model": "m"}, "is not on this machine"),
        ({"server": "http://localhost/v1"}, r"judge.served_model=NAME \(curl http://localhost/v1"),
        ({"max_new_tokens": 0}, "judge.max_new_tokens must be at least 1, got 0; try 16"),
    ],
)
def test_a_server_that_may_not_be_asked_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(Judge, settings)


def test_what_is_wrong_is_said_before_anything_is_asked(server, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="has no model 'other'; it serves: tiny; pass one of them"):
        Judge(server=server.url, served_model="other").load(LoadContext("cpu", "float32"))
    monkeypatch.delenv("MY_KEY", raising=False)
    pool = pool_of(tmp_path, 2)
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match="MY_KEY is not set.*type: export MY_KEY=KEY"):
            pool.score(
                "judge", settings=settings_of(server, key_variable="MY_KEY"), dry_run=dry_run
            )
    with pytest.raises(ConfigError, match=r"no server is given \(its address is not stored\); add"):
        Judge(served_model="tiny").load(LoadContext("cpu", "float32"))
    assert not server.asked
