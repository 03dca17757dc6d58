"""The largest batch that fits on a card, tried on the CPU with a card that is mocked."""

import pytest
import torch
from mocked_card import GIB, mocked_card
from random_models import loaded

from curate.models.batch import CUDA_BATCH_TOKENS
from curate.models.fitting import (
    LADDER,
    LEAST,
    below,
    fits_on_card,
    largest_rows,
    largest_that_fits,
    leaves_room,
)
from curate.models.passes.device_batch import HostBatch

__all__ = ["mocked_card"]  # a fixture


@pytest.mark.parametrize("room", [0, 1_024, 1_500, 1_536, 20_000, 49_152, 65_535, 65_536, 10**9])
def test_the_largest_budget_that_fits_is_found_in_few_tries(room):
    tried = []

    def fits(tokens):
        tried.append(tokens)
        return tokens <= room

    assert largest_that_fits(fits) == max([size for size in LADDER if size <= room], default=LEAST)
    assert len(tried) <= 5 and tried[0] == LADDER[-1] == CUDA_BATCH_TOKENS
    if room >= CUDA_BATCH_TOKENS:
        assert len(tried) == 1


def test_the_ladder_rises_by_halves_and_thirds():
    assert LADDER[:5] == (1_024, 1_536, 2_048, 3_072, 4_096)
    assert [below(n) for n in (1, 1_025, 65_536, 10**9)] == [1_024, 1_024, 49_152, 65_536]


@pytest.mark.parametrize("shared", [False, True])
def test_made_up_rows_fill_the_budget(shared):
    rows = largest_rows(5_000, 300, 1_000, shared=shared)
    batch = HostBatch.of(rows, packed=True, shared=shared)
    run = len(batch.values[batch.places["ids"]])
    assert 5_000 <= run < 5_300
    assert max(batch.lengths) <= 1_000
    assert all(row.targets.max() < 300 and len(row.targets) for row in rows)
    if shared:
        assert sum(batch.lengths) > 7 * run  # nearly as many as batches of shared rows may have


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_that_runs_and_leaves_memory_fits(mocked_card, monkeypatch, shared):
    model = loaded("llama")
    mocked_card.room = 700
    assert fits_on_card(model, 256, packed=True, shared=shared)
    assert not fits_on_card(model, 1_024, packed=True, shared=shared)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device=None: 66 * GIB)
    assert not fits_on_card(model, 256, packed=True, shared=shared)  # 64 of 70 free GiB


def test_a_batch_must_leave_memory_on_each_of_several_cards(mocked_card, monkeypatch):
    used = {"cuda:0": 30, "cuda:1": 62}
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: used[device] * GIB)
    assert leaves_room(list, "cuda:0,1")
    used["cuda:1"] = 66  # 64 of 70 free GiB
    assert leaves_room(list, "cuda:0")
    assert not leaves_room(list, "cuda:0,1")


def test_another_error_is_no_lack_of_memory(mocked_card, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("no kernel")

    monkeypatch.setattr("curate.models.passes.device_batch.launch", broken)
    with pytest.raises(RuntimeError, match="no kernel"):
        fits_on_card(loaded("llama"), 64, packed=False, shared=False)


def test_what_was_tried_is_no_peak_of_the_run_that_follows(mocked_card, monkeypatch):
    happened = []
    for name in ("reset_peak_memory_stats", "max_memory_reserved"):
        answer = getattr(torch.cuda, name)
        monkeypatch.setattr(
            torch.cuda, name, lambda card, name=name, answer=answer: happened.append((name, card)) or answer(card)
        )  # fmt: skip
    assert leaves_room(lambda: happened.append("tried"), "cuda:0,1")
    resets, peaks = (
        [(name, f"cuda:{n}") for n in (0, 1)]
        for name in ("reset_peak_memory_stats", "max_memory_reserved")
    )
    assert happened == [*resets, "tried", *peaks, *resets]
