import json

import numpy as np
import pytest

from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError
from curate.registry import build
from curate.scorers.samples import Samples

QUESTIONS = ["name a colour", "what is two plus two", "write a poem about the sea", "x"]


def example_of(question, answer="blue", number=0):
    return Example(
        f"{number:032x}",
        ({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
    )


EXAMPLES = [example_of(question, number=n) for n, question in enumerate(QUESTIONS * 3)]


def load(model, batch_tokens=None, **settings):
    scorer = Samples(**{"max_new_tokens": 6, "prompt": "plain", "k": 3, **settings})
    return scorer.load(LoadContext("cpu", "float32", str(model), batch_tokens=batch_tokens))


def test_every_example_has_its_samples_with_their_lengths(tiny_model):
    found = load(tiny_model)(EXAMPLES)
    for texts, n_tokens in zip(found["texts"], found["n_tokens"], strict=True):
        assert len(json.loads(texts)) == len(n_tokens) == 3
        assert 1 <= n_tokens.min() and n_tokens.max() <= 6
    assert list(found[FAILURE]) == [None] * len(EXAMPLES)
    assert found["n_capped"].max() == 3
    drawn = np.array([n.sum() for n in found["n_tokens"]])
    assert (found[TOKENS_RUN] > drawn).all()  # and the prompt, once


@pytest.mark.parametrize("size", [1, 7, 64])
def test_samples_do_not_depend_on_the_batch(tiny_model, size):
    whole = load(tiny_model)(EXAMPLES)["texts"].tolist()
    score = load(tiny_model, batch_tokens=5 * size)
    found = [
        text
        for start in range(0, len(EXAMPLES), size)
        for text in score(EXAMPLES[start : start + size])["texts"]
    ]
    assert found == whole


def test_equal_prompts_of_different_examples_have_samples_of_their_own(tiny_model):
    found = load(tiny_model)(EXAMPLES)["texts"]
    assert found[0] != found[4] != found[8]


def test_the_chat_template_and_a_text_template_ask_differently(tiny_model):
    chat, plain = (load(tiny_model, template=t)(EXAMPLES[:1]) for t in ("chat", "plain"))
    assert chat["texts"][0] != plain["texts"][0]


def test_a_prompt_beyond_the_context_fails_alone(tiny_model):
    examples = [EXAMPLES[0], example_of("never seen " * 60, number=99), EXAMPLES[1]]
    found = load(tiny_model)(examples)
    assert list(found[FAILURE]) == [None, "prompt_exceeds_context", None]
    assert found["texts"].tolist()[::2] == load(tiny_model)(EXAMPLES)["texts"].tolist()[:2]


def test_an_example_without_a_prompt_fails_alone(tiny_model):
    alone = Example("f" * 32, ({"role": "assistant", "content": "hello"},))
    found = load(tiny_model)([alone, EXAMPLES[0]])
    assert list(found[FAILURE]) == ["no_prompt", None]


def test_reasons_are_asked_for(roomy_model, monkeypatch):
    from curate.models.generation.decoding import Decoder

    seen = []
    monkeypatch.setattr(
        Decoder, "draw", lambda self, prompts, ids, drawing: seen.extend(prompts) or [None]
    )
    found = load(roomy_model, prompt="cot")(EXAMPLES[:1])
    from transformers import AutoTokenizer

    text = AutoTokenizer.from_pretrained(roomy_model).decode(seen[0])
    assert text.startswith("<s><|user|>Reply to the request below.")
    assert text.endswith("Request:\nname a colour<|end|>\n<|assistant|>")
    assert list(found[FAILURE]) == ["out_of_memory"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "samples.k counts answers from 1, got 0"),
        ({"max_new_tokens": 0}, "samples.max_new_tokens must be at least 1, got 0"),
        ({"temperature": -0.5}, "samples.temperature must be 0 or more, got -0.5"),
        ({"prompt": "reasons"}, "samples.prompt='reasons' is not one of cot, plain"),
    ],
)
def test_impossible_settings_say_what_is_possible(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(Samples, settings)


def test_samples_of_real_rows(realdata, realmodel):
    import polars as pl

    frame = pl.read_parquet(realdata / "qa_context.parquet").head(12)
    rows = zip(frame["prompt"], frame["response"], strict=True)
    examples = [example_of(q[-400:], a, n) for n, (q, a) in enumerate(rows)]
    found = load(realmodel, template="plain", k=2, max_new_tokens=8)(examples)
    texts = [json.loads(one) for one in found["texts"]]
    assert list(found[FAILURE]) == [None] * 12
    assert sum(len(set(two)) == 2 for two in texts) >= 10  # it draws, and not the same twice
    words = " ".join(text for two in texts for text in two).split()
    assert sum(word.isascii() for word in words) > 0.8 * len(words) > 30
