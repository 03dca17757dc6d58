"""Turns in rows of their own, measured as one example: against a loop over each turn's own text."""

from pathlib import Path

import numpy as np
import pytest
import torch

from curate.contracts import Example, Rendering, Stat
from curate.models.load import load_model, resolve_model
from curate.models.passes.device_batch import BatchWants, launch
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.layout import Layout
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import Renderer
from curate.models.text.show import show
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.likelihood import Likelihood

TEMPLATE = (
    Path(__file__).parents[1] / "test_text/chat_templates/strips_earlier_thinking.jinja"
).read_text()
WANTS = PassRequest.of([Likelihood(), DONOD(), Embedding(pooling="mean")])
# (prompt of the turn as inference has it, what the model has to produce) per turn of each example
ONE = [("<|user|>two<|end|>\n<|assistant|><think>\n\n</think>\n\n", "four<|end|>")]
TWO = [
    ("<|user|>a<|end|>\n<|assistant|>", "<think>\nhm\n</think>\n\nthe cat<|end|>"),
    (
        (
            "<|user|>a<|end|>\n<|assistant|>the cat<|end|>\n<|user|>and<|end|>\n<|assistant|>"
            "<think>\n\n</think>\n\n"
        ),
        "the sea, the sea<|end|>",
    ),
]


def messages(*turns):
    roles = ("user", "assistant") * len(turns)
    return tuple({"role": r, "content": c} for r, c in zip(roles, turns, strict=False))


def reasoned():
    first, second, third, fourth = messages("a", "the cat", "and", "the sea, the sea")
    return first, {**second, "reasoning_content": "hm"}, third, fourth


EXAMPLES = [
    Example("0" * 32, messages("two", "four")),
    Example("1" * 32, reasoned()),
    Example("2" * 32, messages("two", "four")),
]
TURNS = [ONE, TWO, ONE]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(resolve_model(str(tiny_model)), "cpu", "float64")


@pytest.fixture
def renderer(model):
    return Renderer(model.tokenizer, 256, ChatOptions(template=TEMPLATE))


def by_hand(model, turns):
    """NLL of every scored token and the mean hidden state of the last turn, one turn at a time."""
    found, hidden = [], None
    for prompt, response in turns:
        before, said = (
            model.tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, response)
        )
        with torch.inference_mode():
            hidden = model.hidden(torch.tensor([before + said]))[0]
            logp = torch.log_softmax(hidden @ model.head.weight.T, -1)
        at = torch.arange(len(before) - 1, len(before) + len(said) - 1)
        found.append(-logp[at, torch.tensor(said)].numpy())
    return np.concatenate(found)


def test_an_example_of_several_rows_is_what_a_loop_over_its_turns_finds(model, renderer):
    rows = renderer.render(EXAMPLES, Rendering("chat"))
    assert [len(row.starts) for row in rows] == [1, 2, 1]
    for batch in ([0, 1, 2], [1], [2, 1]):
        found = dict(Forward(model).run([rows[n] for n in batch], WANTS))
        for place, number in enumerate(batch):
            np.testing.assert_allclose(
                found[place].nll, by_hand(model, TURNS[number]), rtol=1e-9, atol=1e-9
            )


def test_norms_are_of_the_mean_loss_over_all_rows(model, renderer):
    (row,) = renderer.render(EXAMPLES[1:2], Rendering("chat"))
    ((_, measured),) = Forward(model).run([row], WANTS)
    weight = model.head.weight.detach().clone().requires_grad_()
    parts = []
    for start, stop in row.edges:
        with torch.no_grad():
            hidden = model.hidden(torch.from_numpy(row.ids[start:stop].astype(np.int64))[None])[0]
        inside = (row.positions >= start) & (row.positions < stop)
        logp = torch.log_softmax(hidden[row.positions[inside] - start] @ weight.T, -1)
        parts.append(-logp[torch.arange(int(inside.sum())), row.targets[inside].astype(np.int64)])
    torch.cat(parts).mean().backward()
    norm = float(weight.grad.square().sum())
    stats = measured.stats(DONOD(), model.head_weight_sq_norm)
    assert stats.head_sq_norm == pytest.approx(norm, rel=1e-9)


def test_pooled_vectors_are_those_of_the_last_row(model, renderer):
    rows = renderer.render(EXAMPLES, Rendering("chat"))
    last = rows[1].ids[rows[1].starts[-1] :].astype(np.int64)
    with torch.inference_mode():
        wanted = model.hidden(torch.from_numpy(last)[None])[0].mean(0).numpy()
    found = dict(Forward(model).run(rows, WANTS))
    np.testing.assert_allclose(found[1].pooled[Stat.MEAN_HIDDEN], wanted, rtol=1e-9, atol=1e-12)


def test_rows_of_one_each_lie_in_one_array_in_their_order(renderer):
    rows = renderer.render([EXAMPLES[0], EXAMPLES[2]], Rendering("chat"))
    layout = Layout.of(rows)
    assert layout.order is None and len(layout.arrays) == 1
    assert layout.arrays[0].examples == (0, 1)


def test_the_empty_think_block_and_headers_are_context(renderer):
    (shown,) = show(DONOD(template="chat"), EXAMPLES[1], renderer)
    assert len(shown.row_starts) == 2
    scored = [i for i, counts in zip(shown.token_ids, shown.response_mask, strict=True) if counts]
    text = "".join(response for _, response in TWO)
    assert scored == renderer.tokenizer(text, add_special_tokens=False).input_ids
    assert shown.text == "".join(prompt + response + "\n" for prompt, response in TWO)


def test_a_turn_beyond_the_context_is_cut_and_said(model):
    short = Renderer(model.tokenizer, 40, ChatOptions(template=TEMPLATE))
    (row,) = short.render(EXAMPLES[1:2], Rendering("chat"))
    assert row.truncated and all(stop - start <= 40 for start, stop in row.edges)


def test_a_batch_for_a_device_lays_several_rows_out_alike(model, renderer):
    rows = renderer.render(EXAMPLES, Rendering("chat"))
    columns = launch(model, rows, BatchWants(WANTS.head, WANTS.pooled), packed=False)
    found = columns.wait()
    assert columns.batch.last == (0, 2, 3)
    on_cpu = dict(Forward(model).run(rows, WANTS))
    nll = np.concatenate([on_cpu[n].nll for n in range(3)])
    np.testing.assert_allclose(found["nll"], nll, rtol=1e-9)
    assert found["norm True"][1] == pytest.approx(on_cpu[1].sq_norm[True], rel=1e-9)
    np.testing.assert_allclose(
        found[str(Stat.MEAN_HIDDEN)][2], on_cpu[1].pooled[Stat.MEAN_HIDDEN], rtol=1e-9
    )
