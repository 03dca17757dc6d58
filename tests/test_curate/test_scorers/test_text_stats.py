import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import FAILURE, Example, LoadContext
from curate.errors import ConfigError
from curate.scorers.text_stats import BOILERPLATE, REFUSALS, TextStats, code_share, repetition


def stats(response, prompt="Say it.", **settings):
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})
    columns = TextStats(**settings).load(LoadContext("cpu", "float32"))(
        [Example("0" * 32, messages)]
    )
    assert columns.pop(FAILURE)[0] is None
    return {name: values[0] for name, values in columns.items()}


def test_numbers_worked_out_by_hand():
    found = stats("Red red.\n\n  Red red.\nBlue 42!\n", ngram=2)
    assert (found["n_chars"], found["n_words"], found["n_lines"]) == (30, 6, 3)
    assert found["alphabetic"] == 16 / 21  # 12 letters and 2 dots, 4 letters, 2 digits and a mark
    assert found["repeated_lines"] == pytest.approx(1 / 3)
    # red red, red red, red red, red blue, blue 42
    assert found["repeated_ngrams"] == pytest.approx(2 / 5)
    assert (found["code"], found["refusals"], found["boilerplate"]) == (0, 0, 0)


def test_an_empty_text_has_zeros_and_no_failure():
    assert set(stats("").values()) == {0}


@pytest.mark.parametrize(("part", "n_words"), [("response", 1), ("prompt", 2), ("full", 3)])
def test_part_says_which_text(part, n_words):
    assert stats("Red.", "Say it.", part=part)["n_words"] == n_words


def test_phrases_count_without_case_and_punctuation_and_not_inside_each_other():
    text = "I\u2019m sorry, but I can't help with that.  As an AI language model,\nI CANNOT ASSIST!"
    found = stats(text)
    assert found["refusals"] == 2  # "i can't help with" overlaps the first
    assert found["boilerplate"] == 1  # "as an ai" is the start of the longer one
    assert stats("Basically i cannot assistant")["refusals"] == 0  # whole words


def test_every_phrase_is_found_as_it_is_listed():
    for phrase in REFUSALS:
        assert stats(f"Well, {phrase.upper()}.")["refusals"] == 1
    for phrase in BOILERPLATE:
        assert stats(f"Well: {phrase}!")["boilerplate"] == 1


def test_phrases_can_be_replaced():
    found = stats(
        "Ich kann nicht. As an AI", refusal_phrases=("ich kann nicht",), boilerplate_phrases=()
    )
    assert (found["refusals"], found["boilerplate"]) == (1, 0)


@pytest.mark.parametrize(
    ("line", "is_code"),
    [
        ("x = 3", False), ("total += price * n", True), ("import numpy as np", True),
        ("from curate import open", True), ("def add(a, b):", True), ("for x in items:", True),
        ("if (a > b) {", True), ("}", True), ("<div class='a'>", True), ("const x = 3", True),
        ("SELECT name FROM users", True), ("return a + b;", True), ("#include <stdio.h>", True),
        ("We import cars from Japan.", False), ("For example:", False), ("Select one of them.", False),
        ("The class was full.", False), ("Return to the shop.", False), ("If you like it: good.", False),
        ("E = mc squared, as he said.", False), ("Paris", False), ("From here, go on.", False),
    ],
)  # fmt: skip
def test_lines_that_look_like_code(line, is_code):
    assert code_share(line) == float(is_code)


@pytest.mark.parametrize(
    "line",
    [
        "<" + "a" * 200_000, "</" + "a " * 100_000, " " * 200_000 + "a", "a" + " " * 200_000 + "b",
        "x[" * 100_000, "select " + "a " * 100_000, "if (" + "{ " * 100_000 + "x", "`" * 200_000,
    ],
    ids=lambda line: line[:8],
)  # fmt: skip
def test_one_long_line_takes_linear_time(line):
    began = time.process_time()
    assert code_share(line) == 0
    assert time.process_time() - began < 2


def test_fenced_blocks_are_code_and_their_fences_nothing():
    assert code_share("word\n```python\nabcd\n```\nword") == pytest.approx(1 / 3)
    assert code_share("```\nnever closed") == 1


@given(st.lists(st.sampled_from("ab"), max_size=12), st.integers(1, 4))
def test_repetition_counts_runs_seen_before(items, n):
    seen, repeats = [], 0
    for at in range(len(items) - n + 1):
        run = items[at : at + n]
        repeats += run in seen
        seen.append(run)
    assert repetition(items, n) == pytest.approx(repeats / len(seen) if seen else 0)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(
        ConfigError, match=r"text_stats.ngram counts words, at least 1, got 0; try 4"
    ):
        TextStats(ngram=0)
    with pytest.raises(ConfigError, match=r"refusal_phrases has '\.\.\.', which holds no word"):
        TextStats(refusal_phrases=("...",))


def test_filters_a_pool(tmp_path):
    import json

    import curate as cu

    rows = [("Say.", "A tree is green."), ("Say!", "I cannot assist with that."), ("Go.", "x = 1;")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in rows))
    pool = cu.open(tmp_path / "pool.duckdb", create=True)
    pool.ingest(str(path))
    pool.score("text_stats")
    chosen = pool.select(
        "random", budget=1, where="text_stats.refusals == 0 and text_stats.code < 0.5"
    )
    assert chosen.to_polars()["response"].to_list() == ["A tree is green."]
