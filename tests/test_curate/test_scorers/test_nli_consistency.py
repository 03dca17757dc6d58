import json

import numpy as np
import pytest
from tiny_nli import MNLI, save_tiny_nli

from curate.contracts import TOKENS_RUN, Example, LoadContext
from curate.models.classifiers.nli import load_nli
from curate.models.classifiers.text_model import object_column
from curate.scorers.nli_consistency import NliConsistency

ROWS = [
    ("two plus two?", "four", ["explanation: sum\nanswer: four", "answer: five", "it is five"]),
    ("a colour?", "blue", ["answer: blue.", "", "answer: red"]),
    ("again?", "", ["answer: [blue]", "", "green"]),
]
EXAMPLES = [
    Example(f"{n:032x}", ({"role": "user", "content": q}, {"role": "assistant", "content": a}))
    for n, (q, a, _) in enumerate(ROWS)
]


def column(rows):
    return object_column([json.dumps(texts) for _, _, texts in rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_nli(tmp_path_factory.mktemp("tiny-nli"))


def load(folder, batch_tokens=None, **settings):
    context = LoadContext("cpu", "float32", str(folder), batch_tokens=batch_tokens)
    return NliConsistency(k=3, **settings).load(context)


READ = {"samples.texts": column(ROWS)}


def test_similarity_is_one_minus_contradiction_over_both_orders(folder):
    found = load(folder, with_question=False)(EXAMPLES, READ)
    model = load_nli(str(folder), "cpu", "float32")

    def contra(a, b):
        return float(model.contradictions([(a, b)])[0][0])

    five = 1 - (contra("four", "five") + contra("five", "four")) / 2
    said = 1 - (contra("four", "it is five") + contra("it is five", "four")) / 2
    assert found["similarity"][0] == pytest.approx([1, five, said], abs=1e-6)
    assert found["match"][0].tolist() == [1, 0, 0]
    assert found["parsed"][0].tolist() == [1, 1, 0]
    assert found["n_pairs"].tolist() == [4, 2, 0] and found["n_split"].tolist() == [0, 0, 0]
    assert found["similarity"][1][:2].tolist() == [1, 0] and found["match"][1].tolist() == [1, 0, 0]
    assert found["similarity"][2].tolist() == [0, 1, 0] and found["match"][2].tolist() == [0, 1, 0]
    assert found[TOKENS_RUN][2] == 0 < found[TOKENS_RUN][1]


def test_the_question_changes_what_is_judged(folder):
    with_it, without = (load(folder, with_question=w)(EXAMPLES, READ) for w in (True, False))
    assert with_it["similarity"][0][1] != without["similarity"][0][1]
    assert with_it["match"][0].tolist() == without["match"][0].tolist()


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_the_order_of_the_labels_plays_no_part(folder, tmp_path, order):
    plain = load(folder)(EXAMPLES, READ)
    shuffled = load(save_tiny_nli(tmp_path, [MNLI[i] for i in order]))(EXAMPLES, READ)
    for one, other in zip(plain["similarity"], shuffled["similarity"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_similarity_does_not_depend_on_the_batch(folder, size):
    rows = ROWS * 4
    examples, texts = EXAMPLES * 4, column(rows)
    whole = load(folder)(examples, {"samples.texts": texts})["similarity"]
    score = load(folder, batch_tokens=40 * size)
    found = [
        similarity
        for start in range(0, len(rows), size)
        for similarity in score(
            examples[start : start + size], {"samples.texts": texts[start : start + size]}
        )["similarity"]
    ]
    for one, other in zip(whole, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_long_answer_is_judged_by_its_sentences(folder):
    long = " ".join(f"Sentence number {n} says something." for n in range(12))
    example = Example("0" * 32, (EXAMPLES[0].messages[0], {"role": "assistant", "content": long}))
    texts = column([("", "", ["answer: five. Not four.", "answer: short", ""])])
    found = load(folder)([example], {"samples.texts": texts})
    assert found["n_split"].tolist() == [2]
    assert found["n_pairs"].tolist() == [2 * 12 * 2 + 2 * 12 * 1]
    model = load_nli(str(folder), "cpu", "float32")
    parts = [s + "." for s in long.split(". ")][:-1] + [long.rsplit(". ", 1)[1]]
    there = max(model.contradictions([(s, "short") for s in parts])[0])
    back = max(model.contradictions([("short", s) for s in parts])[0])
    assert found["similarity"][0][1] == pytest.approx(1 - (there + back) / 2, abs=1e-6)


def test_plain_samples_are_answers_as_they_are(folder):
    found = load(folder, prompt="plain")(EXAMPLES, READ)
    assert found["parsed"][0].tolist() == [1, 1, 1]
    assert found["match"][0].tolist() == [0, 0, 0]
    need = NliConsistency(k=3, prompt="plain", max_new_tokens=9, seed=4).requires()["samples"]
    assert need.config == {"k": 3, "prompt": "plain", "max_new_tokens": 9, "seed": 4}
