"""Cards are dealt to workers: as few to each as its models need, none to two, and words where they do not suffice."""

import json
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
import pytest
from mocked_card import GIB, MockedCard
from noted import Noted
from two_cards import two_cards

import curate as cu
from curate.cli.score import _plan_text
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError, DeviceError
from curate.models import spread
from curate.models.load import resolve_model
from curate.registry import get_scorer
from curate.scoring import batch_sizes, cards, job
from curate.scoring.batch_sizes import card_of
from curate.scoring.cards import Dealt, Weights, deal, weights_of
from curate.scoring.estimate import plan
from curate.scoring.executors.ray_cluster import Cluster
from curate.scoring.executors.shard_run import ShardRun
from curate.scoring.options import ScoringOptions
from curate.scoring.passes import WorkerPass
from curate.scoring.plan import Pass, PassMember
from curate.scoring.requests import request_for
from curate.scoring.sizing import origins_of, with_batch_sizes
from curate.scoring.workload import n_workers

__all__ = ["two_cards"]  # a fixture


@pytest.fixture
def eight(monkeypatch):
    """Return eight cards of 80 GiB."""
    batch_sizes.card_of.cache_clear()
    yield MockedCard(monkeypatch, 100, n=8)
    batch_sizes.card_of.cache_clear()


@pytest.fixture
def big(monkeypatch, tiny_model):
    """Return a function that makes weights of so many GiB, in bfloat16 unless said, of 100 equal layers."""

    def blocks(folder, dtype):
        size = int(folder) * GIB * (2 if dtype == "float32" else 1)
        return tuple(spread._Block(f"layers.{n}", size // 100) for n in range(100))

    def weights(gib, dtype="bfloat16", alone=""):
        made = replace(resolve_model(str(tiny_model)), name=f"org/{gib}", path=str(gib))
        return Weights(made, dtype, alone)

    monkeypatch.setattr(spread, "_blocks", blocks)
    monkeypatch.setattr(spread, "count_parameters", lambda folder: int(str(folder)) * GIB // 2)
    return weights


@pytest.fixture
def store(tmp_path):
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"two {n % 3} and", "response": f"four {n} five"} for n in range(9)]
    data.write_text("\n".join(map(json.dumps, rows)))
    pool.ingest(data)
    return pool.store


def refused(kind, of):
    with pytest.raises(kind) as error:
        of()
    return str(error.value)


# How many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gib", "cards", "workers"),
    [(5, 1, 8), (70, 1, 8), (71, 2, 4), (139, 2, 4), (141, 3, 2), (500, 8, 1)],
)
def test_a_worker_gets_as_few_cards_as_hold_its_largest_model(eight, big, gib, cards, workers):
    dealt = deal([big(4), big(gib)], "cuda")
    assert (dealt.n, dealt.n_workers, dealt.refusal) == (cards, workers, "")
    held = [card for device in dealt.devices(workers) for card in cards_in(device)]
    assert len(held) == len(set(held)) == cards * workers


def cards_in(device):
    return device.removeprefix("cuda:").split(",")


def test_workers_hold_neighbouring_cards_and_the_plan_says_so(eight, big):
    dealt = deal([big(120)], "cuda")
    assert dealt.devices(3) == ["cuda:0,1", "cuda:2,3", "cuda:4,5"]
    assert dealt.describe(4) == "120.0 GiB of weights over 2 GPUs a worker, 4 workers on 8 GPUs"
    assert deal([big(5)], "cuda").describe(8) == ""
    assert deal([big(5)], "cuda").devices(9)[7:] == ["cuda:7", "cuda:0"]


def test_what_is_asked_for_is_dealt(eight, big):
    assert deal([big(5)], "cuda", 4).devices(2) == ["cuda:0,1,2,3", "cuda:4,5,6,7"]
    assert deal([big(120)], "cuda", 3).n_workers == 2
    assert deal([], "cuda", 2).n == deal([big(5, alone="judge")], "cuda", 2).n == 1
    assert deal([big(500)], "cuda:3").devices(2) == [
        "cuda:3",
        "cuda:3",
    ]  # as ever: its load says no
    assert deal([big(5)], "cpu") == Dealt("cpu")


def test_workers_are_as_many_as_there_are_cards_for(eight, big, monkeypatch):
    monkeypatch.setattr("curate.scoring.workload.seconds_of", lambda *args: 1000.0)
    pass_ = Pass((PassMember("s", "l", get_scorer("likelihood")()),), None, "float32", 9)
    assert n_workers([(pass_, ["shard"] * 20)], "cuda", None, 3) == 2
    dealt = deal([big(120)], "cuda")
    dealt.check(4)
    assert refused(ConfigError, lambda: dealt.check(5)) == (
        "--workers 5 with 2 GPUs a worker: --device cuda has 8, enough for 4; type --workers 4, or leave it out"
    )


# What does not fit -------------------------------------------------------------------------------


def test_weights_that_fit_on_no_cards_are_refused_with_what_would(eight, big):
    short = "1000.0 GiB, but 8 x Mocked 1 hold 560.0 beside a batch"
    dealt = deal([big(5), big(1000)], "cuda")
    assert dealt.lack == short
    assert refused(DeviceError, lambda: dealt.devices(1)) == (
        f"the weights of model 'org/1000' in bfloat16 take {short}; give a smaller model, or more GPUs: layers "
        "are never left on the CPU or the disk"
    )
    wide = deal([big(500, "float32")], "cuda")
    assert "give --dtype bfloat16 (500.0 GiB), a smaller model" in wide.refusal


def test_a_layer_without_room_for_a_batch_beside_it_takes_the_card_that_holds_it(
    eight, big, monkeypatch
):
    monkeypatch.setattr(spread, "_blocks", lambda *_: (spread._Block("layers.0", 75 * GIB),))
    dealt = deal([big(75)], "cuda")
    assert (dealt.n, dealt.refusal) == (1, "")


def test_fewer_cards_than_a_model_needs_are_refused_with_how_many_it_does(eight, big):
    asked = deal([big(141)], "cuda", 2)
    assert asked.refusal == (
        "the weights of model 'org/141' in bfloat16 take 141.0 GiB, but 2 x Mocked 1 hold 140.0 beside a batch; "
        "type --num-gpus-per-worker 3, or leave it out"
    )
    assert "take 90.0 GiB, but Mocked 1 has 80.0; type" in deal([big(90)], "cuda", 1).refusal


def test_what_runs_on_one_card_alone_is_refused_by_name(eight, big):
    assert not deal([big(79, alone="judge")], "cuda").refusal
    dealt = deal([big(120), big(90, alone="donod-layers")], "cuda")
    assert dealt.refusal == (
        "scorer 'donod-layers' runs its model on one card, as all do but those of a forward pass: the weights "
        "of 'org/90' in bfloat16 take 90.0 GiB, but Mocked 1 has 80.0; give a smaller model, or a card with "
        "more memory"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"num_gpus_per_worker": 0.5},
            "is a whole number of GPUs on this machine, got 0.5; a part of one",
        ),
        ({"num_gpus_per_worker": 0}, "is a whole number of GPUs on this machine, got 0;"),
    ],
)
def test_a_part_of_a_card_is_for_ray(given, words):
    assert words in refused(ConfigError, lambda: ScoringOptions(**given))


def test_an_engine_of_vllm_takes_one_card(monkeypatch):
    monkeypatch.setattr("curate.scoring.backends.require_vllm", lambda: None)
    assert refused(ConfigError, lambda: ScoringOptions(num_gpus_per_worker=2, backend="vllm")) == (
        "--num-gpus-per-worker 2 with --backend vllm: each worker takes one GPU; leave one of them out"
    )


def test_more_cards_than_there_are_are_refused(eight, big):
    for device, there in (("cuda", "8 GPUs"), ("cuda:2", "1 GPU"), ("cpu", "0 GPUs")):
        assert refused(ConfigError, lambda device=device: deal([big(5)], device, 9)) == (
            f"--num-gpus-per-worker 9: --device {device} has {there}; leave it out"
        )


def test_a_worker_of_ray_computes_on_all_that_it_takes():
    devices = {n: Cluster(gpus_per_worker=n).device for n in (0, 0.5, 1, 3)}
    assert devices == {0: "cpu", 0.5: "cuda:0", 1: "cuda:0", 3: "cuda:0,1,2"}
    assert Cluster(gpus_per_worker=3).needs["GPU"] == 3
    assert ScoringOptions(num_gpus_per_worker=2).cards_per_worker == 2
    on_ray = ScoringOptions(num_gpus_per_worker=2, executor="ray")
    assert on_ray.cards_per_worker is None
    assert on_ray.worker_device(runs_weights=True) == "cuda:0,1"


def test_a_scorer_of_rows_gets_the_first_card_of_several(monkeypatch):
    monkeypatch.setattr("curate.scoring.passes.RowPass", lambda spec, device: device)
    judge = Pass((PassMember("s", "mtld", get_scorer("mtld")()),), None, "float32", 9)
    assert WorkerPass(judge).load("cuda:2,3") == "cuda:2"
    assert weights_of([judge]) == []


# A run -------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Let a card hold weights of 90,000 bytes, and pretend that more never fit."""
    monkeypatch.setattr(spread, "weight_room", lambda card: 90_000)
    monkeypatch.setattr(cards, "lack_of_room", lambda n, card: "more" if n > 90_000 else None)


Options = partial(ScoringOptions, dtype="float32", batch_tokens=64)


def scored(store, model, options, said):
    requests = [request_for(get_scorer("likelihood")(), "likelihood", str(model), options)]
    return requests, job.score(store, requests, options, said)


def test_a_run_over_two_cards_has_the_key_and_the_scores_of_one_device(
    two_cards, small, store, tiny_model, tmp_path
):
    said, options = Noted(), Options(device="cuda")
    requests, report = scored(store, tiny_model, options, said)
    assert "0.0 GiB of weights over 2 GPUs a worker, 1 worker on 2 GPUs" in said.said
    assert "with 1 worker on cuda:0,1" in " ".join(said.said)
    (made,) = report.sets
    assert made.status.device == "cuda:0,1" and not made.status.n_failed
    other = cu.open(tmp_path / "other.duckdb", create=True)
    other.ingest(tmp_path / "rows.jsonl")
    alone, on_cpu = scored(other.store, tiny_model, Options(device="cpu"), SilentProgress())
    assert alone[0].key.set_id == requests[0].key.set_id
    for one, two in zip(values(on_cpu, other.store), values(report, store), strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def values(report, store):
    made = store.find_score_set(report.sets[0].status.set_id)
    table = pq.read_table(made.part(store.shards()[0].shard_id))
    return table.column("mean_logp").to_pylist()


def test_the_plan_says_how_weights_lie_or_what_they_lack(
    eight, small, store, tiny_model, monkeypatch
):
    options = Options(device="cuda")
    requests = [request_for(get_scorer("likelihood")(), "likelihood", str(tiny_model), options)]
    made = plan(store, requests, options, None, SilentProgress()).as_dict()
    over = "0.0 GiB of weights over 2 GPUs a worker, 1 worker on 8 GPUs"
    assert (made["plan"]["weights_over"], made["plan"]["weights_lack"]) == (over, None)
    assert over in _plan_text(made).splitlines()
    monkeypatch.setattr(spread, "weight_room", lambda card: 20)
    lacks = plan(store, requests, options, None, SilentProgress()).as_dict()
    assert "the weights do not fit: they take 0.0 GiB, but 8 x Mocked 1 hold 0.0" in _plan_text(
        lacks
    )
    with pytest.raises(DeviceError, match="layers are never left on the CPU or the disk"):
        job.score(store, requests, options, SilentProgress())


def test_batches_are_measured_over_the_cards_of_a_worker(
    eight, small, store, tiny_model, monkeypatch, tmp_path
):
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    asked, said = [], Noted()

    def most_tokens(request, resolved, device):
        asked.append(device)
        return 3_000

    monkeypatch.setattr("curate.scoring.sizing._most_tokens", most_tokens)
    options = Options(device="cuda", batch_tokens=None)
    requests = [request_for(get_scorer("likelihood")(), "likelihood", str(tiny_model), options)]
    (sized,) = with_batch_sizes(store, requests, options, said)
    assert (sized.batch_tokens, asked) == (3_000, ["cuda:0,1"])
    assert card_of("cuda:0,1") == "2 x Mocked 1 (80.0 GiB)"
    assert said.said[0].endswith("fit on 2 x Mocked 1 (80.0 GiB)")
    assert origins_of(store, requests, options) == {
        sized.key.set_id: "measured on 2 x Mocked 1 (80.0 GiB)"
    }


def test_the_peak_of_several_cards_is_that_of_the_fullest(monkeypatch):
    held = {"cuda:2": 3 * 2**20, "cuda:3": 5 * 2**20}
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", held.__getitem__)
    assert ShardRun.of({}, 1.0, 0, "cuda:2,3").device_peak_mib == 5.0
