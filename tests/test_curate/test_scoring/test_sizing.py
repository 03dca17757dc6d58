"""Batches sized by a card's memory: measured once, remembered, stored with the score set."""

import json
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from mocked_card import MockedCard
from noted import Noted

import curate as cu
from curate.cli.score import _plan_text
from curate.contracts.progress import SilentProgress
from curate.errors import DeviceError
from curate.models import fitting
from curate.models.load import load_model, resolve_model
from curate.scorers.length import Length
from curate.scorers.likelihood import Likelihood
from curate.scoring import batch_sizes, cards, job, sizing
from curate.scoring.batch_sizes import BatchSizes
from curate.scoring.batching import Batching
from curate.scoring.estimate import plan
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import request_for
from curate.scoring.sizing import origins_of, with_batch_sizes

Options = partial(ScoringOptions, device="cuda", dtype="float32")


@pytest.fixture
def card(monkeypatch, tmp_path):
    """Return a card with room for 100 tokens; a model on it is on the CPU."""
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "LADDER", (48, 64, 96, 128))
    monkeypatch.setattr(
        sizing, "load_model", lambda resolved, device, dtype: load_model(resolved, "cpu", dtype)
    )
    batch_sizes.card_of.cache_clear()
    yield MockedCard(monkeypatch, 100, n=2)
    batch_sizes.card_of.cache_clear()


@pytest.fixture
def store(tmp_path):
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    data = tmp_path / "rows.jsonl"
    data.write_text(
        "\n".join(json.dumps({"prompt": f"two {n}", "response": f"four {n}"}) for n in range(6))
    )
    pool.ingest(data)
    return pool.store


def asked(model, *scorers, options):
    return [request_for(scorer, scorer.name, str(model), options) for scorer in scorers]


def test_it_is_measured_once_for_a_model_on_a_card(card, store, tiny_model):
    said, options = Noted(), Options()
    requests = asked(tiny_model, Likelihood(), Length(), options=options)
    sized = with_batch_sizes(store, requests, options, said)
    assert [one.batch_tokens for one in sized] == [96, 65_536]
    assert said.said == [
        f"measuring how many tokens of {tiny_model} fit on Mocked 1 (80.0 GiB)",
        "batches have 96 tokens; this is remembered for the model on this card",
    ]
    assert 3 <= len(card.tried) <= 4
    card.tried.clear()
    again = with_batch_sizes(store, requests, options, said)
    assert again == sized and not card.tried and len(said.said) == 2
    double = asked(tiny_model, Likelihood(), options=Options(dtype="float64"))
    with_batch_sizes(store, double, options, said)
    assert card.tried  # another dtype takes other memory


def test_a_score_set_keeps_the_batches_of_its_first_run(card, store, tiny_model):
    options = Options()
    requests = asked(tiny_model, Likelihood(), options=options)
    sized = with_batch_sizes(store, requests, options, SilentProgress())
    made = store.score_set(sized[0].key, "likelihood", sized[0].run_parameters())
    assert made.run["batch_tokens"] == 96
    known = BatchSizes.of(requests[0].model, "float32", "cuda:0")
    known.measured(48)
    assert with_batch_sizes(store, requests, options, SilentProgress()) == requests
    assert origins_of(store, requests, options) == {made.set_id: ""}
    assert store.find_score_set(made.set_id).run["batch_tokens"] == 96


def test_what_is_given_and_what_runs_on_a_cpu_stays(card, store, tiny_model):
    for options in (Options(batch_tokens=77), Options(device="cpu")):
        requests = asked(tiny_model, Likelihood(), options=options)
        assert with_batch_sizes(store, requests, options, SilentProgress()) == requests
    options = Options()
    text = asked(tiny_model, Length(), options=options)
    assert with_batch_sizes(store, text, options, SilentProgress()) == text
    assert not card.tried


def test_the_plan_says_where_the_tokens_of_a_batch_come_from(card, store, tiny_model):
    options = Options()
    requests = asked(tiny_model, Likelihood(), options=options)
    first = plan(store, requests, options, None, SilentProgress())
    assert not card.tried
    assert first.passes[0].batch_origin == "measured on Mocked 1 (80.0 GiB) before the first run"
    with_batch_sizes(store, requests, options, SilentProgress())
    second = plan(store, requests, options, None, SilentProgress())
    assert second.as_dict()["plan"]["passes"][0]["batch_tokens"] == 96
    assert "batches of 96 tokens, measured on Mocked 1 (80.0 GiB)" in _plan_text(second.as_dict())
    cpu = Options(device="cpu")
    on_cpu = plan(store, asked(tiny_model, Likelihood(), options=cpu), cpu, None, SilentProgress())
    assert (on_cpu.passes[0].batch_tokens, on_cpu.passes[0].batch_origin) == (2_048, "")


def test_a_batch_that_did_not_fit_lowers_what_new_sets_take(card, tiny_model):
    known = BatchSizes.of(resolve_model(str(tiny_model)), "float32", "cuda:0")
    assert known.tokens is None and known.too_many("") is None
    known.failed("", 100)
    assert known.too_many("") is None  # far below what any card holds: another process's doing
    known.measured(128)
    known.failed("", 31)
    assert known.too_many("") is None
    known.failed("", 100)
    known.failed("", 120)  # more than is known not to fit
    known.failed("_shared", 40)
    assert (known.tokens, known.too_many(""), known.too_many("_shared")) == (96, 100, 40)
    known.remembered.path.write_text("{")
    assert known.tokens is None  # damaged: measured again


def test_a_worker_begins_with_what_earlier_ones_could_not_fit(card, tiny_model):
    resolved = resolve_model(str(tiny_model))
    known = BatchSizes.of(resolved, "float32", "cuda:0")
    known.measured(64)
    known.failed("", 33)
    model = load_model(resolved, "cpu", "float32")
    on_card = type(model)(
        resolved, model.backbone, model.head, model.tokenizer, "cuda:0", "float32"
    )
    limit = Batching(on_card, 64, share=False).forward.limit
    assert limit.too_many == 33
    limit.on_change(20)
    assert known.too_many("") == 20
    assert Batching(model, 64, share=False).forward.limit is None


def test_the_card_with_the_least_memory_decides(card, monkeypatch, tiny_model):
    sizes = {0: 80, 1: 24}

    def properties(device):
        index = torch.device(device).index
        return type("P", (), {"name": f"Card {index}", "total_memory": sizes[index] * 2**30})

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    for options, decides in ((Options(), "cuda:1"), (Options(device="cuda:0"), "cuda:0")):
        requests = asked(tiny_model, Likelihood(), options=options)
        assert sizing._device(requests, options, refuses=True) == decides


def test_a_run_stores_what_fits_with_the_score_set(store, tiny_model, monkeypatch):
    def sized(store, requests, options, progress):
        return [replace(request, batch_tokens=77) for request in requests]

    monkeypatch.setattr(job, "with_batch_sizes", sized)
    options = Options(device="cpu")
    report = job.score(
        store, asked(tiny_model, Length(), options=options), options, SilentProgress()
    )
    assert store.find_score_set(report.sets[0].status.set_id).run["batch_tokens"] == 77


def test_weights_that_fit_nowhere_are_refused_by_a_run_and_not_by_its_plan(
    card, store, tiny_model, monkeypatch
):
    monkeypatch.setattr(cards, "cards_needed", lambda *_: None)
    monkeypatch.setattr(cards, "lack_of_room", lambda *_: "more")
    requests = asked(tiny_model, Likelihood(), options=Options())
    assert with_batch_sizes(store, requests, Options(), SilentProgress(), measure=False) == requests
    with pytest.raises(DeviceError, match="or more GPUs: layers are never left on"):
        with_batch_sizes(store, requests, Options(), SilentProgress())
    assert not card.tried


def test_weights_without_room_are_an_error_in_words(card, store, tiny_model, monkeypatch):
    def full(resolved, device, dtype):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(sizing, "load_model", full)
    options = Options()
    requests = asked(tiny_model, Likelihood(), options=options)
    with pytest.raises(DeviceError) as error:
        with_batch_sizes(store, requests, options, SilentProgress())
    assert str(error.value) == (
        f"model {str(tiny_model)!r} does not fit in what is free on Mocked 1 (80.0 GiB); free memory there, "
        "or give a smaller model, then run the same command again"
    )


def test_what_cannot_be_measured_keeps_the_constant_and_says_so(
    card, store, tiny_model, monkeypatch
):
    models, emptied = [], []

    def broken(model, *args, **options):
        models.append(weakref.ref(model))
        raise RuntimeError("no kernel image\nmore")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(models[0]()))
    monkeypatch.setattr(sizing, "fits_on_card", broken)
    said, options = Noted(), Options()
    requests = asked(tiny_model, Likelihood(), options=options)
    assert with_batch_sizes(store, requests, options, said) == requests
    assert said.said[1] == (
        "that cannot be measured (no kernel image); batches have 65,536 tokens, and are halved where they do "
        "not fit"
    )
    assert emptied == [None]  # workers of other processes get the memory of the model


def test_a_lost_card_ends_the_run_as_it_is(card, store, tiny_model, monkeypatch):
    def lost(*args, **options):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(sizing, "fits_on_card", lost)
    requests = asked(tiny_model, Likelihood(), options=Options())
    with pytest.raises(RuntimeError, match="illegal memory access"):
        with_batch_sizes(store, requests, Options(), SilentProgress())


def test_a_cache_that_cannot_be_written_loses_nothing_but_the_memory(
    card, store, tiny_model, monkeypatch
):
    monkeypatch.setenv("CURATE_CACHE", "/dev/null/cache")
    options = Options()
    requests = asked(tiny_model, Likelihood(), options=options)
    sized = with_batch_sizes(store, requests, options, SilentProgress())
    assert [one.batch_tokens for one in sized] == [96]
