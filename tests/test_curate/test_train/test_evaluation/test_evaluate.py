from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.contracts import Example, Rendering
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.train.api import train
from curate.train.config import LengthConfig, OptimiserConfig, WatchConfig
from curate.train.data import TrainRow, prepare
from curate.train.evaluation.answers import extractor, is_match, last_number
from curate.train.evaluation.evaluate import evaluate
from curate.train.evaluation.generation import exact_matches, generate
from curate.train.model import load_trained_model
from curate.train.processes import Processes


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    """A model in training, and a function that prepares rows for it."""
    from curate.train.config import ComputeConfig, TrainConfig

    resolved = resolve_model(str(tiny_llama))
    settings = TrainConfig(str(tiny_llama), compute=ComputeConfig(device="cpu", dtype="float32"))
    model = load_trained_model(resolved, settings, torch.device("cpu"))
    renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length)
    return model, lambda rows: prepare(rows, renderer, Rendering("plain"))


def greedy_alone(model, prompt, n):
    """Greedy continuation of one prompt, without padding or cache."""
    ids = list(prompt)
    end = model.tokenizer.eos_token_id
    with torch.no_grad():
        for _ in range(n):
            token = int(model.whole(torch.tensor([ids])).logits[0, -1].argmax())
            if token == end:
                break
            ids.append(token)
    return model.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)


def test_batched_generation_equals_one_at_a_time(loaded, make):
    model, prepared = loaded
    rows = prepared(make.rows(7))
    prompts = [one.ids[: one.positions[0] + 1].tolist() for one in rows.rendered]
    assert len({len(prompt) for prompt in prompts}) > 2
    made = generate(model, prompts, 9)
    assert made == [greedy_alone(model, prompt, 9) for prompt in prompts]


@pytest.mark.slow
def test_an_answer_ends_where_the_context_does(loaded, make):
    from transformers import GPT2Config, GPT2LMHeadModel

    model, prepared = loaded
    rows = prepared(make.rows(3))
    prompts = [one.ids[: one.positions[0] + 1].tolist() for one in rows.rendered]
    context = max(map(len, prompts)) + 2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learned = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(model.tokenizer), n_positions=context, n_embd=16, n_layer=1, n_head=2,
                bos_token_id=0, eos_token_id=1,
            )
        ).eval()  # fmt: skip
    short = replace(model, whole=learned, resolved=replace(model.resolved, max_length=context))
    settings = {"name": "exact", "max_new_tokens": 9, "batch_tokens": 1000}
    correct = exact_matches(short, rows, Processes.join("cpu"), **settings)
    assert correct.shape == (3,)
    [longest] = generate(short, [max(prompts, key=len)], 9)
    assert longest == greedy_alone(short, max(prompts, key=len), 2)


def test_exact_match_finds_the_right_answers(loaded, make):
    model, prepared = loaded
    rows = make.rows(6)
    prompts = [one.ids[: one.positions[0] + 1].tolist() for one in prepared(rows).rendered]
    ordered = sorted(rows, key=lambda row: row.id)
    told = []
    for number, (row, prompt) in enumerate(zip(ordered, prompts, strict=True)):
        own = greedy_alone(model, prompt, 5)
        answer = own if number % 2 else own + "?"
        messages = (row.example.messages[0], {"role": "assistant", "content": answer})
        told.append(TrainRow(row.id, Example(row.id, messages)))
    correct = exact_matches(
        model,
        prepared(told),
        Processes.join("cpu"),
        name="exact",
        max_new_tokens=5,
        batch_tokens=200,
    )
    assert correct.tolist() == [False, True] * 3


@pytest.mark.slow
def test_training_on_one_answer_makes_it_match(config, make, tmp_path):
    base = make.rows(1)[0].example.messages[0]
    messages = (base, {"role": "assistant", "content": "A: 18"})
    rows = [TrainRow("0" * 32, Example("0" * 32, messages))] * 40
    eager = config(
        optimiser=OptimiserConfig(lr=3e-2),
        length=LengthConfig(max_steps=60),
        watch=WatchConfig(extractor="last-number", max_new_tokens=12),
    )
    record = train(eager, rows, tmp_path / "run", evaluation={"same": rows[:3]})
    final = record.final("same")
    assert final.exact_match == 1.0
    assert final.correct.tolist() == [True] * 3
    assert final.as_dict()["perplexity"] == pytest.approx(np.exp(final.mean_nll))


def test_figures_add_up(loaded, make):
    model, prepared = loaded
    rows = prepared(make.rows(9))
    one = Processes.join("cpu")
    found = evaluate(model, rows, one, name="x", step=3, batch_tokens=100)
    whole = evaluate(model, rows, one, name="x", step=3, batch_tokens=100_000)
    assert found.ids == tuple(sorted(found.ids))
    assert np.abs(found.nll - whole.nll).max() < 1e-4
    assert found.mean_nll == found.nll.sum() / rows.n_targets.sum()
    assert found.exact_match is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("A: 18", "18"),
        ("3 * 6 = 18\n#### 18", "18"),
        ("#### 1,234", "1234"),
        ("it costs $18.50.", "18.5"),
        ("18.0", "18"),
        ("100", "100"),
        ("-7 degrees", "-7"),
        ("#### none, though 5 before", "5"),
        (".5", "0.5"),
        ("no number", None),
    ],
)
def test_last_number(text, answer):
    assert last_number(text) == answer


def test_other_extractors():
    assert extractor("exact")("  a b \n") == "a b"
    assert extractor("exact")("  ") is None
    assert extractor("first-line")("\n one \n two") == "one"
    assert is_match(last_number, "so 18.0", "#### 18")
    assert not is_match(last_number, "nothing", "nothing")
