"""What becomes a candidate and what does not, and that batches play no part."""

import pytest
from stub_decoder import StubDecoder

from curate.contracts import Example, LoadContext
from curate.data.identity import identify
from curate.models.generation.decoding import Sample, Sampling
from curate.models.load import load_tokenizer
from curate.models.text.prompts import Prompter
from curate.select.procedures.correct.candidates import Answerer, load_answerer
from curate.train.data import TrainRow

GREEDY = Sampling(1, 6, 0.0, 0)


def row(number, question="name a colour", answer="table", **last):
    messages = (
        {"content": question, "role": "user"},
        {"content": answer, "role": "assistant", **last},
    )
    one = Example(identify(messages).id, messages)
    return TrainRow(one.id, one, source=str(number))


def answerer(tokenizer_folder, reply, counted="plain"):
    tokenizer = load_tokenizer(str(tokenizer_folder))
    decoder = StubDecoder(tokenizer, lambda prompt, i, k: [reply(prompt)])
    return Answerer(decoder, Prompter(tokenizer, "chat"), GREEDY, Confidences(), counted)


class Confidences(dict):
    def __missing__(self, example):
        return 0.25


def test_an_answer_becomes_an_example_of_its_own(tiny_tokenizer):
    one = row(0)
    table, facts = answerer(tiny_tokenizer, lambda prompt: " blue \n")([one])
    [found] = table.to_pylist()
    revised = [dict(one.example.messages[0]), {"content": "blue", "role": "assistant"}]
    assert found["parent_id"] == one.id and found["response"] == "blue"
    assert found["id"] == identify(revised).id != one.id
    assert found["failure"] is None and found["parent_confidence"] == 0.25
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    plain = tokenizer("name a colour\nblue")["input_ids"]
    assert found["n_tokens"] == len(plain)
    assert facts["tokens"] > len(plain) and facts["seconds"] >= 0


@pytest.mark.parametrize(
    ("one", "reply", "reason"),
    [
        (row(0), "  ", "empty"),
        (row(0), "table", "unchanged"),
        (row(0, tool_calls=[{"type": "function", "function": {"name": "f"}}]), "x", "calls_a_tool"),
        (row(0, answer=[{"type": "image", "url": "u"}]), "x", "content_is_not_text"),
    ],
)
def test_what_is_no_candidate_says_why(tiny_tokenizer, one, reply, reason):
    [found] = answerer(tiny_tokenizer, lambda prompt: reply)([one])[0].to_pylist()
    assert (found["failure"], found["id"], found["response"]) == (reason, None, None)


def test_an_example_without_a_prompt_and_one_that_does_not_fit_are_no_candidates(tiny_tokenizer):
    made = answerer(tiny_tokenizer, lambda prompt: "blue")
    alone = Example("0" * 32, ({"content": "blue", "role": "assistant"},))
    made.decoder.context = 20
    long = row(1, "name a colour " * 9)
    found = made([TrainRow(alone.id, alone), long])[0]["failure"].to_pylist()
    assert found == ["no_prompt", "prompt_exceeds_context"]


def test_an_answer_that_is_cut_is_no_candidate(tiny_tokenizer):
    made = answerer(tiny_tokenizer, lambda prompt: "blue")
    made.decoder.draw = lambda prompts, ids, drawing: [
        [Sample("blue and", 6, False)] for _ in prompts
    ]
    assert made([row(0)])[0]["failure"].to_pylist() == ["unfinished"]


def test_tokens_are_not_counted_where_nobody_counts_them(tiny_tokenizer):
    found = answerer(tiny_tokenizer, lambda prompt: "blue", counted=None)([row(0)])
    assert found[0]["n_tokens"].to_pylist() == [None]


def test_a_real_model_writes_the_same_whatever_the_batch(roomy_model):
    rows = [row(n, "what is two plus two " * (1 + n % 3) + str(n), "so") for n in range(7)]
    tables = []
    for batch_tokens in (1, 40, 4_096):
        context = LoadContext("cpu", "float32", str(roomy_model), batch_tokens=batch_tokens)
        made = load_answerer(context, "chat", GREEDY, Confidences(), "plain")
        drawn = made.decoder.draw(
            [made._prompt(r.example) for r in rows], [r.id for r in rows], GREEDY
        )
        tables.append(([one[0].text for one in drawn], made(rows)[0]))
    assert tables[0][0] == tables[1][0] == tables[2][0] and any(tables[0][0])
    assert tables[0][1].equals(tables[1][1]) and tables[0][1].equals(tables[2][1])
