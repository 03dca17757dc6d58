"""vLLM in place of our own pass: the same numbers, a key of its own, and what it cannot do is refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import stub_vllm

import curate as cu
from curate.cli.score import _plan_text
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError, DeviceError, MissingPackageError, ModelError, ScoreError
from curate.models.load import resolve_model
from curate.models.passes import vllm_forward
from curate.scorers.donod import DONOD
from curate.scorers.ifd import IFD
from curate.scorers.likelihood import Likelihood
from curate.scorers.perplexity import Perplexity
from curate.scoring.again import score_again
from curate.scoring.backends import with_room
from curate.scoring.executors import shard_run
from curate.scoring.executors.worker import Portion
from curate.scoring.options import ScoringOptions
from curate.scoring.passes import WorkerPass
from curate.scoring.plan import Pass, PassMember, plan_passes
from curate.scoring.requests import request_for
from curate.scoring.workload import n_workers

ROWS = [
    {"prompt": "name a colour", "response": "blue"},
    {"prompt": "what is two plus two", "response": "two plus two is four"},
    {"prompt": "x", "response": "the cat sat on the mat " * 20},
    {"prompt": "long " * 60, "response": "never seen"},
    *({"prompt": "a word", "response": "two " * n} for n in range(1, 40, 3)),
]
SCORERS = (
    Likelihood(),
    IFD(template="plain"),
    Perplexity(template="grape", ppl_mode="conditional"),
)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Install the stub of vLLM for one test."""
    return stub_vllm.install(monkeypatch)


@pytest.fixture
def pool(tmp_path: Path) -> cu.Pool:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pool = cu.Pool(tmp_path / "s.duckdb", create=True)
    pool.ingest(str(data))
    return pool


def vllm_pass(model: Path, *scorers: object, **settings: object) -> Pass:
    members = tuple(PassMember(s.name, s.name, s) for s in scorers)
    resolved = with_room(resolve_model(str(model)), "vllm")
    made = Pass(members, resolved, "float32", 256, backend="vllm")
    return replace(made, **settings)


def test_every_score_is_that_of_our_pass_cut_where_vllm_cuts(
    vllm: ModuleType, tiny_model: Path, pool: cu.Pool
) -> None:
    [shard] = [shard.path for shard in pool.store.shards()]
    asked = vllm_pass(tiny_model, *SCORERS)
    ours = WorkerPass(replace(asked, backend=None)).load("cpu").run(shard)
    theirs = WorkerPass(asked).load("cpu").run(shard)
    assert asked.model is not None and asked.model.max_length == 62  # of 64
    for name, (table, facts) in theirs.items():
        wanted = ours[name][0]
        assert table["failure"].to_pylist() == wanted["failure"].to_pylist()
        assert facts["backend"] == "vLLM 0.0.stub" and facts["gpu_memory_utilization"] == 0.8
        assert facts["tokens"] == ours[name][1]["tokens"]
        for column in set(table.column_names[1:-1]) - {"mean_entropy"}:
            a, b = (
                np.array(t.filter(t["failure"].is_null())[column].to_pylist(), dtype=float)
                for t in (wanted, table)
            )
            assert len(a) and np.isfinite(a).all()
            if column == "ppl":
                a, b = np.log(a), np.log(b)
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-5)
    likelihood = theirs["likelihood"][0]
    assert likelihood["mean_entropy"].null_count == len(likelihood)
    assert True in likelihood["truncated"].to_pylist()
    started = vllm.STARTED[-1]
    assert started["max_model_len"] == 64 and started["dtype"] == "float32"
    assert started["enable_prefix_caching"] is False and not started["trust_remote_code"]
    assert started["logprobs_mode"] == "raw_logprobs" and started["skip_tokenizer_init"]


def options(model: Path, **settings: object) -> ScoringOptions:
    given = {"device": "cpu", "dtype": "float32", "backend": "vllm", "max_failures": "10"}
    return ScoringOptions(models={"target": str(model)}, **{**given, **settings})


def test_a_set_of_its_own_is_stored_shown_and_scored_again(
    vllm: ModuleType, tiny_model: Path, pool: cu.Pool
) -> None:
    how = {
        "model": str(tiny_model),
        "device": "cpu",
        "max_failures": "10",
    }
    [own] = pool.score("perplexity", **how).sets
    plan = pool.score("perplexity", **how, backend="vllm", dry_run=True)
    assert "by vLLM: 131,072 tokens at a time, gpu_memory_utilization 0.8" in _plan_text(
        plan.as_dict()
    )
    assert plan.passes[0].backend == "vllm" and plan.passes[0].padding == 0 and plan.workers == 1
    assert pool.score("perplexity", **how, dry_run=True).passes == ()
    [theirs] = pool.score("perplexity", **how, backend="vllm").sets
    key, run = theirs.status.spec["key"], theirs.status.spec["run"]
    assert theirs.status.set_id != own.status.set_id and theirs.n_scored == len(ROWS)
    assert "backend" not in own.status.spec["key"]
    assert key["backend"] == "vllm" and "prefixes" not in run
    assert pool.score("perplexity", **how, backend="vllm").sets[0].n_scored == 0
    engines = len(vllm.STARTED)
    other = cu.Pool(pool.store.path.with_name("other.duckdb"), create=True)
    other.ingest(str(pool.store.path.with_name("data.jsonl")))
    again = score_again(
        other.store, "perplexity", theirs.status.spec, options(tiny_model), SilentProgress()
    )
    assert again == theirs.status.set_id
    assert len(vllm.STARTED) == engines + 1


def test_a_slice_at_a_url_runs_what_the_plan_was_published_with(
    vllm: ModuleType, tiny_model: Path, pool: cu.Pool, tmp_path: Path
) -> None:
    how = {"model": str(tiny_model), "device": "cpu", "dtype": "float32", "max_failures": "10"}
    bucket, n_engines = str(tmp_path / "bucket"), len(vllm.STARTED)
    pool.score("perplexity", **how, backend="vllm", parts=bucket, plan_only=True)
    elsewhere = cu.Pool(tmp_path / "elsewhere.duckdb", create=True)
    elsewhere.score("perplexity", **how, parts=bucket, slice="1/1")
    assert len(vllm.STARTED) == n_engines + 1
    pool.commit(bucket)
    assert pool.score("perplexity", **how, backend="vllm").sets[0].n_scored == 0


def test_blanks_and_portions_give_the_others_the_same_numbers(
    vllm: ModuleType, tiny_model: Path, pool: cu.Pool
) -> None:
    [shard] = [shard.path for shard in pool.store.shards()]
    runner = WorkerPass(vllm_pass(tiny_model, SCORERS[2])).load("cpu")
    whole = runner.run(shard)["perplexity"][0]
    left_out = whole["id"][0].as_py()
    part = runner.run(shard, None, Portion(omitted=frozenset({left_out})))["perplexity"][0]
    assert part["ppl"].to_pylist()[1:] == whole["ppl"].to_pylist()[1:]
    assert part["failure"][0].as_py() == "kills_worker"


def test_what_vllm_cannot_measure_is_refused_with_what_it_can(
    vllm: ModuleType, tiny_model: Path
) -> None:
    with pytest.raises(ConfigError, match="log-probabilities alone") as refused:
        request_for(DONOD(), "donod", str(tiny_model), options(tiny_model))
    assert str(refused.value) == (
        "--backend vllm gives log-probabilities alone, and scorer 'donod' reads entropy, head_gram; it can run "
        "ifd, likelihood, null-likelihood, perplexity, token-probability: score donod without --backend"
    )


def test_nothing_is_trained_by_vllm(vllm: ModuleType, tiny_model: Path, pool: cu.Pool) -> None:
    with pytest.raises(
        ConfigError, match="scorer 'trajectory' is measured while its model is trained"
    ):
        pool.score("trajectory", model_for={"proxy": str(tiny_model)}, backend="vllm", device="cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tgi"}, "--backend is auto or vllm, got 'tgi'"),
        ({"adapter": "lora"}, "loads no adapter, got --adapter lora; merge it into the model"),
        ({"dtype": "float64"}, "float32 or bfloat16, got --dtype float64"),
        ({"executor": "ray"}, "the GPUs of this machine, got --executor ray"),
    ],
)
def test_what_cannot_go_together_is_refused(
    vllm: ModuleType, tiny_model: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        options(tiny_model, **settings)


def test_where_it_is_not_installed_the_command_to_type_is_said(tiny_model: Path) -> None:
    with pytest.raises(MissingPackageError, match="not installed; type: pip install vllm"):
        options(tiny_model)


def test_one_engine_fills_a_card(vllm: ModuleType, tiny_model: Path) -> None:
    how = options(tiny_model)
    requests = [request_for(scorer, scorer.name, str(tiny_model), how) for scorer in SCORERS]
    with pytest.raises(
        ConfigError, match="one pass at a time, and these scorers make 2: likelihood"
    ):
        plan_passes(requests)
    [one] = plan_passes(requests[::2])
    assert one.describe() == "likelihood+perplexity (grape, 1 segment, by vllm)"
    with pytest.raises(
        ConfigError, match="--workers 2 with --backend vllm: .* --device cpu has 1;"
    ):
        n_workers([(one, [])], "cpu", 2)


def test_a_device_that_vllm_was_not_built_for_is_refused(
    vllm: ModuleType, tiny_model: Path
) -> None:
    spec = vllm_pass(tiny_model, Perplexity())
    with pytest.raises(
        ConfigError, match="computes on cpu, but the device is cuda:0; pass --device cpu"
    ):
        WorkerPass(spec).load("cuda:0")


def test_a_worker_shows_vllm_its_own_card_alone(
    vllm: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    vllm_forward._choose("cuda:0")
    assert vllm_forward.os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,6"
    vllm_forward._choose("cuda:2")
    assert vllm_forward.os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", {"cuda:0": 2**20}.__getitem__)
    assert shard_run._device_peak_mib("cuda:2") == 1.0
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="type: CUDA_VISIBLE_DEVICES=1 curate"):
        vllm_forward._choose("cuda:1")


def test_what_an_engine_says_when_it_fails_reaches_the_user(
    vllm: ModuleType, tiny_model: Path, pool: cu.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = vllm_pass(tiny_model, Perplexity())
    assert spec.model is not None
    with pytest.raises(ModelError, match=r"cannot run model .*: max_model_len \(66\) is greater"):
        WorkerPass(replace(spec, model=replace(spec.model, max_length=64))).load("cpu")
    [shard] = [shard.path for shard in pool.store.shards()]
    runner = WorkerPass(spec).load("cpu")

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.3 GiB")

    def short(ids: list[int]) -> object:
        return vllm.RequestOutput(ids, [None])

    engine = runner.model.engine  # type: ignore[union-attr]
    monkeypatch.setattr(engine, "_answer", short)
    with pytest.raises(ScoreError, match="vLLM answered 1 log-probabilities for"):
        runner.run(shard)
    monkeypatch.setattr(engine, "generate", full)
    with pytest.raises(
        DeviceError, match=r"CUDA out of memory\): it keeps the logits of 4,096 tokens"
    ):
        runner.run(shard)
