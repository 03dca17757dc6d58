"""Rows that are finished make room for others: the same answers, with fewer runs of the model."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from curate.contracts import LoadContext
from curate.models.generation import decoding, refilling
from curate.models.generation.decoding import Sampling, load_decoder
from curate.models.generation.gumbel import gumbel_argmax
from curate.models.generation.refilling import draw_refilled

SAMPLED = Sampling(k=3, max_new_tokens=20, temperature=1.0, seed=0)
RNG = np.random.default_rng(0)
PROMPTS = [RNG.integers(6, 320, size=n).tolist() for n in (5, 17, 3, 17, 9, 30, 1, 4, 22, 60)]
IDS = [f"{n:032x}" for n in range(len(PROMPTS))]


@pytest.fixture(scope="module")
def decoder(tiny_model):
    """A model of which about one token in ten ends an answer."""
    made = load_decoder(LoadContext("cpu", "float64", str(tiny_model)))
    return replace(made, ends=frozenset(range(0, 320, 10)))


@pytest.mark.parametrize("drawing", [SAMPLED, replace(SAMPLED, k=1, temperature=0.0)])
@pytest.mark.parametrize("budget", [1, 200, 900, 10**6])
def test_answers_are_those_of_batches(decoder, drawing, budget):
    found = draw_refilled(decoder, PROMPTS, IDS, drawing, budget)
    assert sorted(found) == [*range(len(PROMPTS))]
    wanted = decoder.draw(PROMPTS, IDS, drawing)
    for place, tokens in found.items():
        assert [decoder._drawn(one) for one in tokens] == wanted[place]
    assert len({len(one) for tokens in found.values() for one in tokens}) > 2 or drawing.k == 1


def test_rows_are_refilled_and_the_cache_stays_narrow(decoder, monkeypatch):
    sizes = []
    original = type(decoder).run

    def run(self, ids, mask, cache):
        sizes.append(tuple(mask.shape))
        return original(self, ids, mask, cache)

    monkeypatch.setattr(type(decoder), "run", run)
    draw_refilled(decoder, PROMPTS, IDS, SAMPLED, 500)
    assert all(rows * width <= 3 * 500 for rows, width in sizes)
    grown = [b[0] > a[0] for a, b in pairwise(sizes)]
    assert sum(grown) > 1
    assert max(width for _, width in sizes) <= 60 + SAMPLED.max_new_tokens


def test_each_row_has_its_own_step():
    logits, keys = torch.randn(4, 50), torch.arange(4) * 7919
    steps = torch.tensor([0, 3, 1, 900])
    found = gumbel_argmax(logits, keys, steps, 0.7)
    alone = [
        gumbel_argmax(logits[n : n + 1], keys[n : n + 1], int(steps[n]), 0.7) for n in range(4)
    ]
    assert torch.equal(found, torch.cat(alone))


def test_on_a_gpu_rows_are_refilled_and_what_is_left_runs_in_batches(decoder, monkeypatch):
    wanted = decoder.draw(PROMPTS, IDS, SAMPLED)
    asked = []

    def some(self, prompts, ids, drawing, budget):
        asked.append(budget)
        found = draw_refilled(decoder, prompts, ids, drawing, budget)
        return {n: found[n] for n in (1, 4)}

    monkeypatch.setattr(decoding, "draw_refilled", some)
    monkeypatch.setattr(type(decoder), "_tensor", lambda self, values: torch.tensor(values))
    there = replace(decoder, device="cuda:0", batch_tokens=700)
    assert there.draw(PROMPTS, IDS, SAMPLED) == wanted and asked == [700]


def test_a_lack_of_memory_leaves_the_rest_to_batches(decoder, monkeypatch):
    original, left = type(decoder).run, [12]

    def run(self, ids, mask, cache):
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, ids, mask, cache)

    monkeypatch.setattr(type(decoder), "run", run)
    found = draw_refilled(decoder, PROMPTS, IDS, SAMPLED, 400)
    assert len(found) < len(PROMPTS)
    monkeypatch.undo()
    wanted = decoder.draw(PROMPTS, IDS, SAMPLED)
    for place, tokens in found.items():
        assert [decoder._drawn(one) for one in tokens] == wanted[place]

    def broken(self, ids, mask, cache):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(type(decoder), "run", broken)
    with pytest.raises(RuntimeError, match="no kernel"):
        draw_refilled(decoder, PROMPTS, IDS, SAMPLED, 400)


def test_a_cache_of_another_kind_is_left_to_batches(decoder, monkeypatch):
    monkeypatch.setattr(refilling, "_can_join", lambda cache: False)
    assert draw_refilled(decoder, PROMPTS, IDS, SAMPLED, 400) == {}
