"""The judge: both orders, letters or replies, what cannot be judged, and that batches play no part."""

import numpy as np
import pytest
from stub_decoder import StubDecoder

from curate.contracts import Example, Judge, LoadContext
from curate.errors import ModelError
from curate.models.load import load_tokenizer
from curate.models.text.prompts import Prompter
from curate.scorers.bsdetector.letters import letter_tokens
from curate.select.procedures.correct.judge import LoadedJudge, Pair, load_judge


def pair(number, answer="a table", candidate="it is blue", failure=None):
    messages = ({"role": "user", "content": f"name colour {number}"},
                {"role": "assistant", "content": answer})  # fmt: skip
    return Pair(Example(f"{number:032x}", messages), candidate, failure)


def prefers(word, share=0.94):
    """Return the letter of the response with a word in it; of a verdict, that of correct."""

    def letter(text):
        if "Proposed answer" in text:
            return ("A" if "(A) The proposed answer is correct" in text else "B"), share
        first = text.split("Response 1:")[1].split("Response 2:")[0]
        return ("A" if word in first else "B"), share

    return letter


def judge(folder, letter=None, reply=None, **fields):
    tokenizer = load_tokenizer(str(folder))
    stub = StubDecoder(tokenizer, reply or (lambda *_: []), letter or prefers("blue"))
    letters = dict(letter_tokens(tokenizer, "m"))
    return LoadedJudge(stub, Prompter(tokenizer, "chat"), Judge("c", **fields), letters)


def rows(judge, *pairs):
    return judge(list(pairs))[0].to_pylist()


def test_a_judge_that_prefers_the_candidate_in_both_orders(tiny_tokenizer):
    [found] = rows(judge(tiny_tokenizer), pair(0))
    assert found["better_second"] == pytest.approx(0.94, abs=1e-6)
    assert found["better_first"] == pytest.approx(0.94, abs=1e-6)
    assert found["reflection"] == pytest.approx(0.94 + 0.03 / 2, abs=1e-6)
    assert found["confidence"] == pytest.approx(0.7 * 0.94 + 0.3 * 0.955, abs=1e-6)
    assert found["agree"] and found["mass"] == pytest.approx(1, abs=1e-6)
    assert found["failure"] is None


def test_a_judge_that_prefers_the_response_and_one_that_prefers_a_place(tiny_tokenizer):
    [against] = rows(judge(tiny_tokenizer, prefers("table")), pair(0))
    both = (against["better_second"], against["better_first"])
    assert both == pytest.approx((0.03, 0.03), abs=1e-6)
    assert not against["agree"]
    [first] = rows(judge(tiny_tokenizer, lambda text: ("A", 0.94)), pair(0))
    assert (first["better_second"], first["better_first"]) == pytest.approx((0.03, 0.94), abs=1e-6)
    assert first["consistency"] == pytest.approx(0.485, abs=1e-6) and not first["agree"]
    assert first["reflection"] == pytest.approx(0.5, abs=1e-6)  # a love of A cancels


def test_pairs_without_a_candidate_keep_their_reason_and_cost_nothing(tiny_tokenizer):
    table, facts = judge(tiny_tokenizer)([pair(0, failure="empty", candidate=None)])
    [found] = table.to_pylist()
    assert found["failure"] == "empty" and found["confidence"] is None
    assert facts["tokens"] == 0


def test_a_pair_that_does_not_fit_fails_alone(tiny_tokenizer):
    made = judge(tiny_tokenizer)
    made.decoder.context = 700
    long, short = rows(made, pair(0, "so " * 400), pair(1))
    assert long["failure"] == "prompt_exceeds_context"
    assert short["failure"] is None


def test_sampled_verdicts_count_the_share_of_replies(tiny_tokenizer):
    def reply(prompt, name, k):
        if name.endswith("-0"):  # the candidate is B
            return ["answer: (B)"] * 3 + ["answer: (C)", "no idea"]
        return ["answer: (A)"] * 4 + ["answer: (B)"]

    made = judge(tiny_tokenizer, reply=reply, mode="sample")
    [found] = rows(made, pair(0))
    assert (found["better_second"], found["better_first"]) == (0.6, 0.8)
    assert found["consistency"] == pytest.approx(0.7)
    assert found["agree"] and found["mass"] == pytest.approx(0.9)


def test_a_decoded_reflection_is_the_mean_of_two_replies(tiny_tokenizer):
    def reply(prompt, name, k):
        return ["answer: (A)" if name.endswith("-0") else "answer: (C)"]

    [found] = rows(judge(tiny_tokenizer, reply=reply, reflection="generate"), pair(0))
    assert found["reflection"] == 0.75


def test_what_exceeds_the_memory_fails_alone(tiny_tokenizer):
    made = judge(tiny_tokenizer)
    made.decoder.choices = lambda prompts, ids, tokens: [None] * len(ids)
    assert rows(made, pair(0))[0]["failure"] == "out_of_memory"


@pytest.mark.parametrize("fields", [{}, {"mode": "sample", "reflection": "generate", "k": 2}])
def test_a_real_model_judges_the_same_whatever_the_batch(roomy_model, fields):
    step = Judge("c", max_new_tokens=3, **fields)
    pairs = [pair(n, "so " * (n % 4), "it is blue " * (1 + n % 3)) for n in range(5)]
    found = []
    for batch_tokens in (1, 1_500, 100_000):
        context = LoadContext("cpu", "float32", str(roomy_model), batch_tokens=batch_tokens)
        found.append(rows(load_judge(context, step), *pairs))
    for one in found[1:]:
        for name in ("better_second", "better_first", "reflection", "confidence"):
            values = [[r[name] for r in table] for table in (one, found[0])]
            assert np.array(values[0]) == pytest.approx(np.array(values[1]), abs=1e-6)


def test_a_tokenizer_without_letters_is_an_error_that_says_what_to_type(roomy_model, monkeypatch):
    from curate.scorers.bsdetector import letters

    monkeypatch.setattr(letters, "_single", lambda *_: [])
    context = LoadContext("cpu", "float32", str(roomy_model))
    with pytest.raises(
        ModelError, match="no single token for the choice 'A'.*mode=sample --set cl"
    ):
        load_judge(context, Judge("c"))
    load_judge(context, Judge("c", mode="sample", reflection="generate"))  # reads no letters
