"""Examples that kill their worker are recorded as failed, and no bit of the others depends on how."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from poisoned import KILLS, POISON, Poisoned, PoisonedRows

import curate as cu
from curate.contracts import RowScorer
from curate.errors import ExampleFailure
from curate.models.load import resolve_model
from curate.registry import register
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.ifd import IFD
from curate.scoring.executors.worker import Portion
from curate.scoring.passes import ForwardPass, WorkerPass
from curate.scoring.plan import Pass, PassMember

TEXTS = [(f"write {n} poem{'s' * (n % 7)}", "two " * (1 + n % 5)) for n in range(40)]
KILLERS = (3, 17, 30)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "pool-00000.parquet"
    texts = [(q, POISON if n in KILLERS else a) for n, (q, a) in enumerate(TEXTS)]
    messages = [
        json.dumps([{"role": "user", "content": q}, {"role": "assistant", "content": a}])
        for q, a in texts
    ]
    ids = [f"{n:032x}" for n in range(len(texts))]
    tools = pa.nulls(len(texts), pa.string())
    pq.write_table(pa.table({"id": ids, "messages": messages, "tools": tools}), path)
    return path


def omitted(shard: Path) -> frozenset[str]:
    ids = pq.read_table(shard)["id"].to_pylist()
    return frozenset(ids[n] for n in KILLERS)


def loaded(tiny_model: Path, *scorers: object, batch_tokens: int = 128) -> ForwardPass:
    members = tuple(PassMember(s.name, s.name, s) for s in scorers)
    spec = Pass(members, resolve_model(str(tiny_model)), "float32", batch_tokens)
    made = WorkerPass(spec).load("cpu")
    assert isinstance(made, ForwardPass)
    return made


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_an_omitted_example_changes_no_bit_of_the_others(
    tiny_model: Path, shard: Path, batch_tokens: int
) -> None:
    """Whether it is alone in its batch or among others, and whatever else rides along."""
    run = loaded(tiny_model, Poisoned(), IFD(template="plain"), Embedding(), DONOD(),
                 batch_tokens=batch_tokens)  # fmt: skip
    failed = run.run(shard)
    without = run.run(shard, None, Portion(omitted=omitted(shard)))
    assert without["poisoned"][0].equals(failed["poisoned"][0])
    assert without["poisoned"][0]["failure"].to_pylist().count("kills_worker") == len(KILLERS)
    others = np.array([n not in KILLERS for n in range(len(TEXTS))])
    for set_id, (table, _) in failed.items():
        assert without[set_id][0].filter(others).equals(table.filter(others))
        assert set(without[set_id][0].filter(~others)["failure"].to_pylist()) == {"kills_worker"}


def test_what_is_not_rendered_counts_as_what_cannot_be(
    tiny_model: Path, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = loaded(tiny_model, Poisoned())
    unseen = Portion(omitted=omitted(shard), renders_omitted=False)
    texts = type(run.renderer)._texts

    def fails(renderer: object, example: cu.Example, rendering: object) -> object:
        if example.messages[-1]["content"] == POISON:
            raise ExampleFailure("kills_worker")
        return texts(renderer, example, rendering)

    monkeypatch.setattr(type(run.renderer), "_texts", fails)
    failed = run.run(shard)
    monkeypatch.undo()
    assert run.run(shard, None, unseen)["poisoned"][0].equals(failed["poisoned"][0])


def test_a_row_scorer_gives_what_it_gives_after_an_error(shard: Path) -> None:
    scorer = PoisonedRows()
    assert isinstance(scorer, RowScorer)
    run = WorkerPass(Pass((PassMember("set", "a", scorer),), None, "", 1)).load("cpu")
    failed = run.run(shard)["set"][0]
    assert run.run(shard, None, Portion(omitted=omitted(shard)))["set"][0].equals(failed)
    assert failed["failure"].to_pylist().count("kills_worker") == len(KILLERS)
    whole = run.run(shard, None, Portion(only=frozenset(run.ids(shard)[4:12])))["set"][0]
    assert whole["beside"].to_pylist() == [8] * 8  # a part without any is a block of its own


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("unregistered")
def test_the_examples_that_kill_their_worker_are_found_and_the_rest_is_scored(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bytes of a pool whose scorer merely fails on them."""
    register(Poisoned)
    rows = [{"prompt": f"poem {n}", "response": "two " * (1 + n % 5)} for n in range(300)]
    for n in (7, 8, 290):
        rows[n]["response"] = POISON
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hashes, notes = [], []
    for kills in ("", "1"):
        monkeypatch.setenv(KILLS, kills)
        pool = cu.open(tmp_path / f"{kills or 0}.duckdb", create=True)
        pool.ingest(str(tmp_path / "pool.jsonl"))
        monkeypatch.setattr(pool.progress, "note", notes.append)
        [made] = pool.score(
            "poisoned", model=str(tiny_model), workers=2 if kills else 1, max_failures=3
        ).sets
        assert made.failures == {"kills_worker": 3}
        hashes.append(made.status.content_hash)
    assert hashes[0] == hashes[1]
    said = [note for note in notes if "kill" in note]
    assert len(said) == 4 and "2 workers (SIGSEGV); parts of it are tried" in said[0]
