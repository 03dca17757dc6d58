"""Rows that begin alike: where it pays they share that, and a set that was begun without goes on so."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from random_models import loaded, random_rows

import curate as cu
from curate.cli.score import _plan_text
from curate.contracts.progress import SilentProgress
from curate.models.load import resolve_model
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.ifd import IFD
from curate.scorers.length import Length
from curate.scorers.likelihood import Likelihood
from curate.scoring.again import score_again
from curate.scoring.batching import SHARED_FACT, Batching
from curate.scoring.executors.worker import WHOLE, Portion
from curate.scoring.job import score
from curate.scoring.options import ScoringOptions
from curate.scoring.passes import ForwardPass, Part
from curate.scoring.plan import Pass, PassMember, plan_passes
from curate.scoring.remote.places import budgets_of, set_folder
from curate.scoring.requests import ScoreRequest, request_for
from curate.store import ScoreSet, Store
from curate.store.parts import read_part

TEXTS = [
    (f"write a poem about {word}", f"{'two ' * (1 + (3 * n + k) % 5)}{k}")
    for n, word in enumerate(("the sea", "the sky", "cats", "blue"))
    for k in range(4)
]
OMITTED = (0, 6, 15)


def write_shard(path: Path, order: list[int]) -> Path:
    messages = [
        json.dumps([{"role": r, "content": t} for r, t in zip(("user", "assistant"), TEXTS[n], strict=True)])
        for n in order
    ]  # fmt: skip
    ids = [f"{n:032x}" for n in order]
    tools = pa.nulls(len(order), pa.string())
    pq.write_table(pa.table({"id": ids, "messages": messages, "tools": tools}), path)
    return path


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shard(tmp_path_factory.mktemp("shard") / "pool-0.parquet", [*range(len(TEXTS))])


def run(
    model: Path, shard: Path, *scorers: object, share: bool = True, portion: Portion = WHOLE
) -> dict[str, Part]:
    members = tuple(PassMember(s.name, s.name, s) for s in scorers)
    spec = Pass(members, resolve_model(str(model)), "float32", 256, share_prefixes=share)
    return ForwardPass(spec, "cpu").run(shard, None, portion)


SCORERS = (Likelihood(), DONOD(template="grape"), IFD(template="plain"), Embedding())


def test_scores_are_those_of_rows_on_their_own_and_tokens_count_the_same(
    tiny_model: Path, shard: Path
) -> None:
    alone = run(tiny_model, shard, *SCORERS, share=False)
    shared = run(tiny_model, shard, *SCORERS)
    for name, (table, facts) in shared.items():
        wanted, before = alone[name]
        assert facts["tokens"] == before["tokens"] and "n_shared" not in before
        assert facts["n_shared"] > 0.1 * facts["tokens"]
        assert table["failure"].null_count == len(TEXTS)
        for column in table.column_names[1:-1]:
            pairs = (t[column].combine_chunks() for t in (wanted, table))
            a, b = (np.array(c.to_pylist(), dtype=float) for c in pairs)
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_company_order_and_omitted_examples_change_no_bit(
    tiny_model: Path, shard: Path, tmp_path: Path
) -> None:
    alone = run(tiny_model, shard, Likelihood())["likelihood"][0]
    assert run(tiny_model, shard, *SCORERS)["likelihood"][0].equals(alone)
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    again = run(tiny_model, write_shard(tmp_path / "s.parquet", order), Likelihood())["likelihood"]
    assert again[0].sort_by("id").equals(alone)
    few = Portion(omitted=frozenset(f"{n:032x}" for n in OMITTED))
    left = run(tiny_model, shard, Likelihood(), portion=few)["likelihood"][0]
    others = np.array([n not in OMITTED for n in range(len(TEXTS))])
    assert left.filter(others).equals(alone.filter(others))


def test_a_model_that_cannot_share_runs_rows_on_their_own_and_says_so(
    tiny_model: Path, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.models.passes.sharing.sharing_flaw", lambda _: "it is recurrent")
    table, facts = run(tiny_model, shard, Likelihood())["likelihood"]
    assert table.equals(run(tiny_model, shard, Likelihood(), share=False)["likelihood"][0])
    assert facts["prefixes"] == (
        "rows begin alike, but what they begin with runs in each, because this model cannot share it: "
        "it is recurrent"
    )


def ask(model: Path, scorer: object) -> ScoreRequest:
    return request_for(scorer, scorer.name, str(model), ScoringOptions(device="cpu"))


def test_whether_a_set_shares_is_fixed_with_it_and_is_not_in_its_key(tiny_model: Path) -> None:
    one = ask(tiny_model, Likelihood())
    before = replace(one, share_prefixes=False)
    assert one.run_parameters() == {**before.run_parameters(), "prefixes": "shared"}
    assert one.key == before.key
    assert "prefixes" not in ask(tiny_model, Length()).run_parameters()
    two = ask(tiny_model, Embedding(template="grape"))
    assert [p.share_prefixes for p in plan_passes([one, two])] == [True]
    stored = {one.key.set_id: before.run_parameters()}
    assert [p.share_prefixes for p in plan_passes([one, two], stored)] == [False, True]


def test_the_budget_of_rows_that_share_nothing_is_fixed_with_a_set(tiny_model: Path) -> None:
    one = ask(tiny_model, Likelihood())
    asked = replace(one, alone_tokens=None)
    assert one.run_parameters() == {**asked.run_parameters(), "alone_tokens": 512}
    assert one.key == asked.key
    assert [p.alone_tokens for p in plan_passes([one])] == [512]
    for begun, goes_on in ((asked, one), (one, asked)):
        stored = {one.key.set_id: begun.run_parameters()}
        assert [p.alone_tokens for p in plan_passes([goes_on], stored)] == [begun.alone_tokens]
    apart = plan_passes([asked, ask(tiny_model, Embedding(template="grape"))])
    assert [p.alone_tokens for p in apart] == [None, 512]
    assert "alone_tokens" not in ask(tiny_model, Length()).run_parameters()
    folders = {set_folder("0" * 16, budgets_of(each.run_parameters())) for each in (one, asked)}
    assert len(folders) == 2


def made_pool(tmp_path: Path, name: str) -> cu.Pool:
    rows = [json.dumps({"prompt": q, "response": a}) for q, a in TEXTS]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows))
    pool = cu.open(tmp_path / f"{name}.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    return pool


def n_shared(made: ScoreSet, store: Store) -> int:
    parts = (read_part(made.part(shard.shard_id)) for shard in store.shards())
    return sum(facts.get(SHARED_FACT, 0) for _, facts in parts)


def test_a_set_that_was_begun_without_sharing_goes_on_without(
    tiny_model: Path, tmp_path: Path
) -> None:
    request = ask(tiny_model, Likelihood())
    before = replace(request, share_prefixes=False)
    options = ScoringOptions(device="cpu", workers=1)
    made = {}
    for name, begun, goes_on in (
        ("before", before, before), ("unfinished", before, request), ("new", request, request)
    ):  # fmt: skip
        store = made_pool(tmp_path, name).store
        begun_set = store.score_set(begun.key, begun.alias, begun.run_parameters())
        [scored] = score(store, [goes_on], options, SilentProgress()).sets
        made[name] = scored.status, n_shared(begun_set, store)
    assert made["unfinished"][0].content_hash == made["before"][0].content_hash
    assert made["unfinished"][1] == made["before"][1] == 0
    assert made["new"][1] > 0
    for name in ("unfinished", "new"):
        status, wanted = made[name]
        store = made_pool(tmp_path, f"again-{name}").store
        set_id = score_again(store, "likelihood", status.spec, options, SilentProgress())
        assert set_id == status.set_id
        found = store.find_score_set(set_id)
        assert found is not None and n_shared(found, store) == wanted


def test_a_dry_run_says_what_need_not_run_and_a_timed_one_whether_the_model_can(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = made_pool(tmp_path, "pool")
    asked = {"model": str(tiny_model), "device": "cpu"}
    document = pool.score("likelihood", **asked, dry_run=True).as_dict()
    [one] = document["plan"]["passes"]
    assert 0.1 * one["tokens"] < one["shared"] == document["plan"]["shared"] < one["tokens"]
    assert one["padding"] == 0 and one["unshared_because"] == ""
    share = one["shared"] / one["tokens"]
    said = f"{one['shared']:,} tokens ({share:.0%}) need not run, as rows begin alike"
    text = _plan_text(document)
    assert said in text and f"{one['tokens'] - one['shared']:,} tokens to run; " in text
    monkeypatch.setattr("curate.models.passes.sharing.sharing_flaw", lambda _: "it is recurrent")
    document = pool.score("likelihood", **asked, limit=8).as_dict()
    assert document["plan"]["shared"] == 0
    text = _plan_text(document)
    assert "what rows begin with runs in each: it is recurrent" in text
    assert "need not run" not in text
    notes: list[str] = []
    monkeypatch.setattr(pool.progress, "note", notes.append)
    pool.score("likelihood", **asked, workers=1)
    assert [note for note in notes if "this model cannot share it: it is recurrent" in note]


@pytest.mark.parametrize(("asked", "most"), [(None, 512), (2_048, 2_048), (1_000, 1_000)])
def test_batches_of_rows_that_share_nothing_are_small_unless_a_size_is_asked_for(
    tiny_model: Path, asked: int | None, most: int
) -> None:
    options = ScoringOptions(device="cpu", batch_tokens=asked)
    [spec] = plan_passes([request_for(Likelihood(), "likelihood", str(tiny_model), options)])
    batching = ForwardPass(spec, "cpu").batching
    rows = random_rows(270)
    plan = batching.plan(rows, [f"{n:03d}" for n in range(len(rows))])
    sizes = [len(batch) * max(len(rows[n].ids) for n in batch) for batch in plan.rows]
    assert plan.n_shared == 0 and 0.8 * most < max(sizes) <= most


def on_card(monkeypatch: pytest.MonkeyPatch, flaw: str | None) -> Batching:
    """Return how rows run on a model that says it is on a GPU, in bfloat16, and has a flaw or none."""
    monkeypatch.setattr("curate.models.passes.packing.packing_flaw", lambda _: flaw)
    model = replace(loaded("llama", dtype="bfloat16"), device="cuda:0")
    return Batching(model, 100, share=True, alone_tokens=7)


def test_on_a_gpu_rows_lie_end_to_end_where_the_model_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("curate.models.passes.sharing.sharing_flaw", lambda _: None)
    rows = random_rows()
    ids = [str(n) for n in range(len(rows))]
    packed = on_card(monkeypatch, None)
    assert packed.facts() == {"device": "cuda:0", "rows": "packed"}
    assert not packed.unshared_because and packed.alone_tokens == 100
    assert packed.plan(rows, ids).padding == 0
    limit = packed.forward.limit  # remembered by nobody: the model has no files
    assert limit is not None and limit.size(rows) == sum(len(row.ids) for row in rows)
    padded = on_card(monkeypatch, "attention with sinks cannot be computed on packed rows")
    reason = "attention with sinks cannot be computed on packed rows"
    assert padded.facts()["rows"] == f"padded: {reason}" and padded.unshared_because == reason
    assert padded.plan(rows, ids).padding > 0
    limit = padded.forward.limit
    assert limit is not None and limit.size(rows) == len(rows) * max(len(row.ids) for row in rows)
