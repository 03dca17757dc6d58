"""Training on conversations whose turns need a row each: one example, its loss over all its rows."""

import numpy as np
import pytest
import torch

from curate.contracts import Example, Rendering
from curate.models.load import load_model, resolve_model
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import Renderer
from curate.train.data import TrainRow, prepare
from curate.train.evaluation.evaluate import summed_nll

REWRITES = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}"
    "{{ '<think>' + (m.reasoning_content or '') + '</think>' }}{% endif %}{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TALK = (
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "four", "reasoning_content": "hm"},
    {"role": "user", "content": "and a colour"},
    {"role": "assistant", "content": "blue, the sea"},
)


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(resolve_model(str(tiny_model)), "cpu", "float64")


def prepared(model, *talks):
    renderer = Renderer(model.tokenizer, None, ChatOptions(template=REWRITES))
    rows = [TrainRow(f"{n:032x}", Example(f"{n:032x}", talk)) for n, talk in enumerate(talks)]
    return prepare(rows, renderer, Rendering("chat"))


def test_an_example_is_one_row_to_train_on_with_the_tokens_of_all_its_turns(model):
    made = prepared(model, TALK, TALK[:2])
    assert len(made) == 2 and not made.failures
    alone = made.n_targets[1]
    assert made.n_targets[0] > alone
    assert made.n_rows.tolist() == [2, 1]
    assert "2 rows, " in made.describe("training") and "1.5 rows an example" in made.describe("x")


def test_losses_of_an_example_are_summed_over_its_rows(model):
    made = prepared(model, TALK, TALK[:2])
    found = summed_nll(model, made.rendered, 10_000)
    row = made.rendered[0]
    total = 0.0
    for start, stop in row.edges:
        with torch.inference_mode():
            hidden = model.hidden(torch.from_numpy(row.ids[start:stop].astype(np.int64))[None])[0]
            logp = torch.log_softmax(hidden @ model.head.weight.T, -1)
        inside = (row.positions >= start) & (row.positions < stop)
        at, targets = row.positions[inside] - start, row.targets[inside].astype(np.int64)
        total -= float(logp[at, targets].sum())
    assert found[0] == pytest.approx(total, rel=1e-9)
