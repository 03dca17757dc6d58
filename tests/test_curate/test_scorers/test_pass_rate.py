import json

import numpy as np
import pytest

from curate.contracts import FAILURE, Example, LoadContext
from curate.errors import ConfigError
from curate.models.classifiers.text_model import object_column
from curate.registry import build
from curate.scorers.pass_rate import PassRate


def example(response, number=0, **row):
    turns = ({"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": response})
    return Example(f"{number:032x}", turns, row=row)


def score(texts, examples, capped=0, **settings):
    read = {
        "samples.texts": object_column([json.dumps(row) for row in texts]),
        "samples.n_capped": np.full(len(texts), capped),
    }
    return PassRate(**settings).load(LoadContext("cpu", "float32"))(examples, read)


def test_rate_and_learnability_by_hand():
    found = score(
        [["2", "so 2.0", "3", ""], ["5"] * 4, ["2"] * 4],
        [example("#### 2", n) for n in range(3)], capped=1,
    )  # fmt: skip
    assert found["rate"].tolist() == [0.5, 0.0, 1.0]
    assert found["learnability"].tolist() == [0.25, 0.0, 0.0]
    assert found["any_correct"].tolist() == [True, False, True]
    assert found["n"].tolist() == [4, 4, 4] and found["n_undecided"].tolist() == [0, 0, 0]
    assert found["n_capped"].tolist() == [1, 1, 1]
    assert json.loads(found["verdicts"][0]) == ["right", "right", "wrong", "wrong"]
    assert found[FAILURE].tolist() == [None] * 3


def test_undecided_answers_are_no_wrong_answers():
    greedy, right = "def f(): return bytearray(2**33)", "def f(): return 2"
    rows = [[greedy, right, "def f(): return 3", right], [greedy] * 4]
    examples = [example("", n, tests="assert len(str(f())) and f() == 2") for n in range(2)]
    found = score(rows, examples, verifier="python")
    assert found["n"].tolist() == [3, 0] and found["n_undecided"].tolist() == [1, 4]
    assert found["rate"][0] == 2 / 3 and found["learnability"][0] == pytest.approx(2 / 9)
    assert found[FAILURE].tolist() == [None, "undecided: memory"]
    assert json.loads(found["verdicts"][0])[0] == "undecided: memory"


def test_an_example_without_a_usable_reference_fails_alone():
    found = score([["2"]] * 2, [example("two"), example("2", 1)], k=1)
    assert found[FAILURE].tolist() == ["reference_without_number", None]
    assert np.isnan(found["rate"][0]) and found["rate"][1] == 1
    found = score([["2"]] * 2, [example("3"), example("3", 1, gold="2")], k=1, reference="row.gold")
    assert found[FAILURE].tolist() == ["no_reference", None] and found["rate"][1] == 1


def test_under_cot_the_answer_alone_is_checked():
    texts = ["explanation: 5 and 7\nanswer: 2 (of 9)", "answer: two"]
    found = score([texts], [example("2 of 9")], k=2, prompt="cot", verifier="regex", pattern="^2")
    assert found["rate"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "pass_rate.temperature=0 is greedy, so all 4 answers .* equal; take pass_rate.k=1"),
        ({"verifier": "python", "reference": "response"}, "verifier python reads tests"),
        ({"reference": "row."}, "pass_rate.reference='row.' is neither"),
    ],
)  # fmt: skip
def test_impossible_settings_say_what_is_possible(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(PassRate, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "samples.k counts answers from 1, got 0"),
        ({"max_new_tokens": 0}, "at least 1, got 0"),
    ],
)
def test_impossible_samples_are_refused_before_any_is_drawn(settings, message):
    from curate.scorers.samples import Samples

    with pytest.raises(ConfigError, match=message):
        build(Samples, PassRate(**settings).requires()["samples"].config)


def test_one_greedy_answer_is_possible():
    assert PassRate(k=1, temperature=0).requires()["samples"].config["temperature"] == 0


# In a pool ---------------------------------------------------------------------------------------

ROWS = [
    {"prompt": f"what is {n} plus {n}", "response": f"{2 * n}", "meta": {"answer": 2 * n}}
    for n in range(8)
]
SETTINGS = {"k": "3", "max_new_tokens": "5", "reference": "row.meta.answer"}


@pytest.fixture
def pool(tmp_path):
    import curate

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    made = curate.open(tmp_path / "curate.duckdb", create=True)
    made.ingest(str(path))
    return made


def test_the_plan_counts_prompts_and_answers_at_most(pool, tiny_model):
    given = {"model": str(tiny_model), "settings": SETTINGS}
    plan = pool.score("pass_rate", dry_run=True, **given).as_dict()["plan"]
    samples, checks = plan["passes"]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    n_prompts = sum(
        len(tokenizer.apply_chat_template([{"role": "user", "content": row["prompt"]}],
                                          add_generation_prompt=True)["input_ids"])
        for row in ROWS
    )  # fmt: skip
    assert samples["scorers"] == "samples" and checks["scorers"] == "pass_rate"
    assert samples["tokens"] == n_prompts + len(ROWS) * 3 * 5 and checks["tokens"] == 0
    assert pool.store.score_sets() == []


def test_a_sample_is_timed_with_the_columns_of_its_rows(pool, tiny_model):
    plan = pool.score("pass_rate", limit=4, model=str(tiny_model), settings=SETTINGS).as_dict()[
        "plan"
    ]
    assert plan["measured_on"] == 4 and plan["tokens_per_s"] > 0 and pool.store.score_sets() == []


def test_every_example_of_a_pool_has_its_rate_whatever_the_batch(pool, tiny_model, tmp_path):
    import curate

    report = pool.score("pass_rate", model=str(tiny_model), settings=SETTINGS)
    assert report.sets[0].status.n_failed == 0
    frame = pool.sql("select id, unnest(s.pass_rate) from scores s order by id")
    assert frame["n"].to_list() == [3] * 8 and frame["rate"].is_between(0, 1).all()
    other = curate.open(tmp_path / "other.duckdb", create=True)
    other.ingest(str(tmp_path / "rows.jsonl"))
    other.score("pass_rate", model=str(tiny_model), settings=SETTINGS, batch_tokens=16)
    assert other.sql("select id, unnest(s.pass_rate) from scores s order by id").equals(frame)
    again = pool.score(
        "pass_rate", model=str(tiny_model), settings={**SETTINGS, "verifier": "exact"}
    )
    assert [s.n_scored for s in again.sets] == [8, 0]  # the samples are there


def test_a_missing_model_is_named(pool, tmp_path):
    from curate.errors import ModelError

    with pytest.raises(ModelError, match="nowhere"):
        pool.score("pass_rate", model=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="scorer 'pass_rate' needs a target model; pass --model"):
        pool.score("pass_rate")


def test_what_follows_a_thought_is_checked():
    texts = ["<think>3?</think>2", "3? no</think>2", "<think>is it 2", "<think>a: 2</think> 3"]
    for prompt, mark in (("plain", ""), ("cot", "answer: ")):
        said = [text.replace("</think>", f"\nanswer: 5</think>{mark}") for text in texts]
        found = score([said], [example("<think>1 or 5?</think>2")], prompt=prompt)
        assert json.loads(found["verdicts"][0]) == ["right", "right", "wrong", "wrong"]
    found = score([["2"]], [example("<think>is it 2")], k=1)
    assert found[FAILURE].tolist() == ["no_reference"]
