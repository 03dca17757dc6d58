"""Texts through a classifier where memory is short: batches are halved, and what did not fit is remembered."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_reward import save_tiny_reward

from curate.contracts import LoadContext
from curate.models.classifiers.sequence import load_reward_model
from curate.models.memory import is_out_of_memory

TEXTS = [f"name {'two ' * n}" for n in (1, 9, 30, 4, 2, 12, 3, 3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_tiny_reward(tmp_path_factory.mktemp("reward"))
    return load_reward_model(LoadContext("cpu", "float32", str(folder)))


def short(model, room):
    """Return the model with room for that many tokens at once, padding included, and the sizes tried."""
    tried = []

    def run(inputs):
        tried.append(inputs["input_ids"].numel())
        if tried[-1] > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return model.run(inputs)

    return replace(model, run=run), tried


def test_batches_are_halved_until_they_fit_and_not_tried_again(model):
    wanted = model.answers(TEXTS)
    scarce, tried = short(model, 200)
    for _ in range(2):
        found = scarce.answers(TEXTS)
        np.testing.assert_allclose(found.values, wanted.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
    assert sum(size > 200 for size in tried) < len(tried) / 2
    first_round = tried.index(max(tried))
    assert first_round == 0 and tried.count(max(tried)) == 1


def test_a_text_that_does_not_fit_alone_is_a_lack_of_memory(model):
    scarce, _ = short(model, 60)
    with pytest.raises(MemoryError, match="a text of 125 tokens does not fit alone") as error:
        scarce.answers(TEXTS)
    assert is_out_of_memory(error.value)


def test_no_texts_are_no_answers(model):
    assert len(model.answers([]).values) == 0
