import numpy as np
import pytest
import torch
from stub_decoder import StubDecoder

from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError, ModelError
from curate.scorers.bsdetector.letters import letter_tokens
from curate.scorers.bsdetector.prompts import OPENING, reflection_prompts
from curate.scorers.reflection import Reflection, reflect
from curate.scorers.reflection_generated import ReflectionGenerated, value_of

PAIRS = [
    ("name a colour", "blue"),
    ("what is two plus two", "four"),
    ("what is two plus two", "the sea"),
    ("write a poem about the sea", "the cat sat on the mat " * 3),
    ("x", ""),
]


def example_of(question, answer, number=0):
    return Example(
        f"{number:032x}",
        ({"role": "user", "content": question}, {"role": "assistant", "content": answer}),
    )


EXAMPLES = [example_of(*pair, n) for n, pair in enumerate(PAIRS)]


def load(model, batch_tokens=None, template="chat"):
    context = LoadContext("cpu", "float32", str(model), batch_tokens=batch_tokens)
    return Reflection(template).load(context)


def test_a_preference_for_a_letter_cancels():
    log_probs = np.log(np.tile([0.7, 0.1, 0.2], (4, 1)))
    assert reflect(log_probs) == (pytest.approx(0.5), pytest.approx(1.0))


def test_the_letters_of_every_second_prompt_are_swapped():
    believes = np.log([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]])
    assert reflect(believes)[0] == pytest.approx(0.7)
    assert reflect(believes[[1, 0, 3, 2]])[0] == pytest.approx(0.3)


def test_the_value_is_renormalised_and_the_mass_is_what_was_there():
    log_probs = np.log(np.tile([0.06, 0.02, 0.02], (4, 1)))
    log_probs[1::2, :2] = log_probs[1::2, 1::-1]
    assert reflect(log_probs) == (pytest.approx(0.7), pytest.approx(0.1))


def slow(model, tokenizer, example):
    """Four whole prompts, one at a time, and the letters' probabilities by hand."""
    letters = letter_tokens(tokenizer, "m")
    values, masses = [], []
    texts = reflection_prompts(example.messages[:-1], example.messages[-1])
    for number, text in enumerate(texts):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(prompt + OPENING, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            probability = model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
        a, b, c = (float(sum(probability[i] for i in letters[letter])) for letter in "ABC")
        correct = (a, b)[number % 2]
        values.append((correct + c / 2) / (a + b + c))
        masses.append(a + b + c)
    return np.mean(values), np.mean(masses)


def test_the_value_is_that_of_whole_prompts(roomy_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(roomy_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(roomy_model)
    found = load(roomy_model)(EXAMPLES)
    for number, example in enumerate(EXAMPLES):
        value, mass = slow(model, tokenizer, example)
        assert found["reflection"][number] == pytest.approx(value, abs=1e-5)
        assert found["mass"][number] == pytest.approx(mass, abs=1e-6)
    assert len(set(found["reflection"].round(6))) == len(EXAMPLES)


@pytest.mark.parametrize("batch_tokens", [1, 2000, 20_000])
def test_values_do_not_depend_on_the_batch(roomy_model, batch_tokens):
    whole = load(roomy_model)(EXAMPLES)
    found = load(roomy_model, batch_tokens)(EXAMPLES)
    np.testing.assert_allclose(found["reflection"], whole["reflection"], atol=1e-6)
    again = load(roomy_model, batch_tokens)(EXAMPLES)
    assert found["reflection"].tobytes() == again["reflection"].tobytes()


def test_what_the_prompts_share_is_counted_once(roomy_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(roomy_model)
    texts = reflection_prompts(EXAMPLES[3].messages[:-1], EXAMPLES[3].messages[-1])
    whole = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    run = load(roomy_model)(EXAMPLES)[TOKENS_RUN][3]
    assert 0.3 * whole < run < 0.9 * whole


def test_a_prompt_beyond_the_context_fails_alone(roomy_model):
    long = example_of("never seen " * 200, "x", 9)
    found = load(roomy_model)([EXAMPLES[0], long])
    assert list(found[FAILURE]) == [None, "prompt_exceeds_context"]
    assert found["reflection"][0] == pytest.approx(
        load(roomy_model)(EXAMPLES)["reflection"][0], abs=1e-6
    )


def test_a_tokenizer_without_the_letters_is_refused(roomy_model, monkeypatch):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    poor = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    stub = StubDecoder(poor, lambda *rest: [])
    monkeypatch.setattr("curate.models.generation.decoding.load_decoder", lambda context: stub)
    with pytest.raises(ModelError, match="no single token for the choice 'A'"):
        load(roomy_model, template="plain")


@pytest.mark.parametrize(
    ("replies", "value", "mass"),
    [
        (("answer: (A)", "explanation: sure. answer: A"), 1.0, 1.0),
        (("answer: (A)", "answer: (B)"), 0.5, 1.0),
        (("answer: (C)", "answer: (B)"), 0.25, 1.0),
        (("well", "answer: (A)"), 0.75, 0.5),
        (("", ""), 0.5, 0.0),
    ],
)
def test_generated_reflection_has_five_levels(tiny_tokenizer, monkeypatch, replies, value, mass):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
    stub = StubDecoder(tokenizer, lambda text, i, k: [replies["certain" in text]])
    monkeypatch.setattr("curate.models.generation.decoding.load_decoder", lambda context: stub)
    score = ReflectionGenerated().load(LoadContext("cpu", "float32", "anywhere"))
    found = score(EXAMPLES[:2])
    assert found["reflection"].tolist() == [value] * 2 and found["mass"].tolist() == [mass] * 2


def test_generated_reflection_runs_a_model(roomy_model):
    scorer = ReflectionGenerated(max_new_tokens=5)
    found = scorer.load(LoadContext("cpu", "float32", str(roomy_model)))(EXAMPLES)
    assert set(found["reflection"]) <= {0, 0.25, 0.5, 0.75, 1}
    assert value_of("answer: B") == 0
    with pytest.raises(ConfigError, match="max_new_tokens must be at least 1, got 0"):
        ReflectionGenerated(max_new_tokens=0)


@pytest.mark.slow
def test_reflection_of_real_rows(realdata, realmodel):
    import polars as pl

    frame = pl.read_parquet(realdata / "qa_context.parquet").head(16)
    rows = zip(frame["prompt"], frame["response"], strict=True)
    examples = [example_of(q[-600:], a, n) for n, (q, a) in enumerate(rows)]
    found = load(realmodel, template="plain")(examples)
    assert list(found[FAILURE]) == [None] * 16
    assert ((found["reflection"] > 0) & (found["reflection"] < 1)).all()
    assert ((found["mass"] > 0) & (found["mass"] < 1)).all()
    assert len(set(found["reflection"])) == 16
