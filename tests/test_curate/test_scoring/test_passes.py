import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.contracts import Column, Example, ForwardScorer, Rendering, RowScorer, Segment, Stat
from curate.errors import DeviceError, ExampleFailure, ScoreError
from curate.models.load import resolve_model
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.ifd import IFD
from curate.scorers.length import Length
from curate.scorers.likelihood import Likelihood
from curate.scoring.passes import WorkerPass
from curate.scoring.plan import Pass, PassMember
from curate.scoring.windows import read_examples

TEXTS = [
    ("name a colour", "blue"),
    ("what is two plus two", "two plus two is four"),
    ("write a poem", "the sea the sea"),
    ("long " * 60, "never seen"),
    ("x", "the cat sat on the mat " * 20),
    ("y", "two"),
]


def write_shard(path: Path, texts, ids=None) -> Path:
    messages = [
        json.dumps([{"role": "user", "content": q}, {"role": "assistant", "content": a}])
        for q, a in texts
    ]
    ids = ids or [f"{n:032x}" for n in range(len(texts))]
    pq.write_table(
        pa.table({"id": ids, "messages": messages, "tools": pa.nulls(len(texts), pa.string())}),
        path,
    )
    return path


@pytest.fixture(scope="module")
def resolved(tiny_model):
    return resolve_model(str(tiny_model))


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "pool-00000.parquet", TEXTS)


def spec(resolved, *scorers, batch_tokens=128, dtype="float32") -> Pass:
    return Pass(
        tuple(PassMember(s.name, s.name, s) for s in scorers), resolved, dtype, batch_tokens
    )


def run(resolved, shard, *scorers, **settings):
    return WorkerPass(spec(resolved, *scorers, **settings)).load("cpu").run(shard)


def rows_of(part):
    return {row["id"]: row for row in part[0].to_pylist()}


def test_a_part_has_every_example_with_its_values_or_its_failure(resolved, shard):
    parts = run(resolved, shard, Likelihood(), IFD(template="plain"), Embedding())
    table, facts = parts["likelihood"]
    assert table.column("id").to_pylist() == [f"{n:032x}" for n in range(6)]
    assert table.column_names == ["id", *Likelihood.outputs, "failure"]
    assert (
        table.column("failure").to_pylist() == [None] * 3 + ["prompt_exceeds_context"] + [None] * 2
    )
    assert table.column("mean_logp").null_count == 1
    assert table.column("truncated").to_pylist() == [False, False, False, None, True, False]
    assert facts["device"] == "cpu" and facts["n_oom_split"] == 0 and facts["tokens"] > 100
    ran = facts["pass_tokens"]  # the renderings of all three, each once
    assert facts["tokens"] < ran and 0 < facts["padding_tokens"] < ran
    assert rows_of(parts["ifd"])[f"{4:032x}"]["truncated"]
    vectors = parts["embedding"][0].column("vector")
    assert vectors.type == pa.list_(pa.float32()) and len(vectors[0]) == 32


def test_company_and_row_order_change_no_bit(resolved, shard, tmp_path):
    alone = run(resolved, shard, Likelihood())["likelihood"][0]
    company = run(resolved, shard, IFD(), DONOD(template="grape"), Likelihood(), Embedding())
    assert company["likelihood"][0].equals(alone)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = write_shard(
        tmp_path / "shuffled.parquet", [TEXTS[i] for i in order], [f"{i:032x}" for i in order]
    )
    again = rows_of(run(resolved, shuffled, Likelihood())["likelihood"])
    assert again == {row["id"]: row for row in alone.to_pylist()}


def test_a_shard_runs_the_same_twice_and_after_another(resolved, shard, tmp_path):
    loaded = WorkerPass(spec(resolved, Likelihood(), DONOD(template="grape"))).load("cpu")
    first = loaded.run(shard)
    loaded.run(write_shard(tmp_path / "other.parquet", TEXTS[:2]))
    second = loaded.run(shard)
    for set_id, (table, _) in first.items():
        assert second[set_id][0].equals(table)


def test_the_token_budget_moves_scores_by_rounding_only(resolved, shard):
    one = run(resolved, shard, Likelihood(), batch_tokens=1)["likelihood"][0]
    two = run(resolved, shard, Likelihood(), batch_tokens=4096)["likelihood"][0]
    for name in ("mean_logp", "mean_entropy", "sum_logp"):
        pairs = zip(one.column(name).to_pylist(), two.column(name).to_pylist(), strict=True)
        assert all(a is b is None or a == pytest.approx(b, abs=1e-4) for a, b in pairs)


def test_examples_are_streamed_in_blocks(shard):
    assert [len(block) for block in read_examples(shard, 4)] == [4, 2]
    first = next(read_examples(shard, 4))[0]
    assert first == Example(f"{0:032x}", first.messages) and first.messages[1]["content"] == "blue"


@dataclass(frozen=True)
class Odd(ForwardScorer):
    """Misbehaves on the example with one scored token more or less, as told."""

    name: ClassVar[str] = "odd"
    version: ClassVar[int] = 1
    role: ClassVar[str] = "target"
    outputs: ClassVar[dict] = {"x": Column("float", "a number"), "v": Column("vector", "a vector")}
    behaviour: str = "fine"
    template: str = "plain"
    score_end: bool = False

    @property
    def emits(self):
        return frozenset({Stat.NLL})

    def segments(self):
        return (Segment("full", Rendering("plain")),)

    def reduce(self, stats):
        value = {"x": 1.0, "v": np.ones(2, np.float32)}
        if len(stats["full"].nll) > 9:
            return value
        return {
            "fine": lambda: value,
            "nan": lambda: {**value, "x": float("nan")},
            "inf vector": lambda: {**value, "v": np.array([1, np.inf], np.float32)},
            "failure": lambda: (_ for _ in ()).throw(ExampleFailure("too_odd")),
            "bug": lambda: 1 / 0,
            "columns": lambda: {"x": 1.0, "w": 2.0},
        }[self.behaviour]()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("nan", "non_finite"),
        ("inf vector", "non_finite"),
        ("failure", "too_odd"),
        ("bug", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_poison_example_fails_alone(resolved, shard, behaviour, reason):
    table = run(resolved, shard, Odd(behaviour))["odd"][0]
    failures = table.column("failure").to_pylist()
    assert reason in failures and None in failures
    for failure, x in zip(failures, table.column("x").to_pylist(), strict=True):
        assert (failure is None) == (x == 1.0)


def test_wrong_columns_fail_the_job(resolved, shard):
    with pytest.raises(ScoreError) as error:
        run(resolved, shard, Odd("columns"))
    assert str(error.value) == (
        "shard pool-00000: scorer 'odd' returned the columns x, w, but declares x, v; "
        "nothing was written"
    )


def test_a_lack_of_memory_ends_the_shard_and_blames_no_example(resolved, shard, monkeypatch):
    loaded = WorkerPass(spec(resolved, Likelihood(), Embedding(template="grape"))).load("cpu")
    hidden = type(loaded.model).hidden

    def small(self, ids):
        if ids.shape[1] > 40 or len(ids) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return hidden(self, ids)

    monkeypatch.setattr(type(loaded.model), "hidden", small)
    with pytest.raises(DeviceError) as error:
        loaded.run(shard)
    assert str(error.value).startswith(
        "shard pool-00000: 1 example does not fit in the memory of cpu"
    )
    assert "nothing of this shard was stored" in str(error.value)
    assert "curate forget --where \"id = '0000000000000000000000000000000" in str(error.value)


def test_an_error_of_the_gpu_ends_the_shard(resolved, shard, monkeypatch):
    loaded = WorkerPass(spec(resolved, Likelihood())).load("cpu")

    def lost(self, ids):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with")

    monkeypatch.setattr(type(loaded.model), "hidden", lost)
    with pytest.raises(DeviceError) as error:
        loaded.run(shard)
    assert str(error.value) == (
        "shard pool-00000: cpu failed (CUDA error: an illegal memory access was encountered); "
        "finished shards are kept; run the same command again, with --device cpu if it fails at "
        "this shard again"
    )


@dataclass(frozen=True)
class Rows(RowScorer):
    name: ClassVar[str] = "rows"
    version: ClassVar[int] = 1
    role: ClassVar[None] = None
    outputs: ClassVar[dict] = {"n": Column("int", "characters"), "x": Column("float", "a number")}
    sizes: ClassVar[list] = []  # of blocks, as they were tried
    behaviour: str = "fine"

    def load(self, context):
        def score(examples):
            lengths = np.array([len(e.messages[1]["content"]) for e in examples])
            x = np.where((lengths == 4) & (self.behaviour == "nan"), np.nan, 1.0)
            if self.behaviour.startswith("memory"):
                import torch

                self.sizes.append(len(examples))
                if len(examples) > int(self.behaviour.removeprefix("memory for ")):
                    raise torch.OutOfMemoryError("CUDA out of memory")
            if self.behaviour == "failure" and 4 in lengths:
                raise ExampleFailure("four")
            if self.behaviour == "bug" and 4 in lengths:
                raise ValueError("four")
            return {"n": lengths[: 3 if self.behaviour == "short" else None], "x": x}

        return score


def test_rows_that_exceed_the_memory_are_halved_and_the_size_that_fits_is_kept(shard, resolved):
    Rows.sizes.clear()
    table, _ = run(resolved, shard, Rows("memory for 2"))["rows"]
    assert table.column("failure").null_count == 6
    assert Rows.sizes == [6, 3, 2, 2, 2]


def test_a_row_that_exceeds_the_memory_alone_ends_the_job(shard, resolved):
    with pytest.raises(DeviceError, match="6 examples do not fit in the memory of cpu even alone"):
        run(resolved, shard, Rows("memory for 0"))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("nan", "non_finite"), ("failure", "four"), ("bug", "ValueError: four")],
)
def test_a_row_scorer_fails_one_example_alone(shard, behaviour, reason):
    table, facts = run(None, shard, Rows(behaviour))["rows"]
    assert table.column("failure").to_pylist() == [reason] + [None] * 5
    assert table.column("n").to_pylist()[0] is None
    assert table.schema.field("n").type == pa.int64() and facts["tokens"] == 0


def test_a_row_scorer_that_loses_rows_fails_the_job(shard):
    with pytest.raises(ScoreError) as error:
        run(None, shard, Rows("short"))
    assert str(error.value) == (
        "shard pool-00000: scorer 'rows' returned 3 rows of 'n' for 6 examples; nothing was written"
    )


def test_lengths_count_the_whole_text_without_ends(resolved, shard):
    rows = list(rows_of(run(resolved, shard, Length())["length"]).values())
    from curate.models.load import load_tokenizer

    tokenizer = load_tokenizer(resolved.path)
    for row, (q, a) in zip(rows, TEXTS, strict=True):
        total = len(tokenizer(f"{q}\n{a}").input_ids)
        assert row["prompt_tokens"] + row["response_tokens"] == total
        assert row["failure"] is None
    assert rows[5]["response_tokens"] == len(tokenizer("two", add_special_tokens=False).input_ids)


def test_float64_runs_through_the_whole_pass(resolved, shard):
    fine = run(resolved, shard, Likelihood(), dtype="float64")["likelihood"][0]
    coarse = run(resolved, shard, Likelihood())["likelihood"][0]
    for a, b in zip(
        fine.column("mean_logp").to_pylist(), coarse.column("mean_logp").to_pylist(), strict=True
    ):
        assert a is b is None or (a != b and a == pytest.approx(b, abs=1e-4))


def test_what_a_worker_imports_has_no_database():
    code = (
        "import sys, curate.scoring.passes, curate.scoring.plan; "
        "print([m for m in ('duckdb', 'ray', 'faiss', 'datasets') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_two_segments_of_one_rendering_run_once(resolved, shard):
    class_ = replace(Odd())

    @dataclass(frozen=True)
    class Twice(ForwardScorer):
        name: ClassVar[str] = "twice"
        version: ClassVar[int] = 1
        role: ClassVar[str] = "target"
        outputs: ClassVar[dict] = {"same": Column("bool", "whether both are one")}
        template: str = "plain"
        score_end: bool = False

        @property
        def emits(self):
            return class_.emits

        def segments(self):
            return (Segment("a", Rendering("plain")), Segment("b", Rendering("plain")))

        def reduce(self, stats):
            return {"same": stats["a"] is stats["b"]}

    table = run(resolved, shard, Twice())["twice"][0]
    assert table.column("same").to_pylist().count(True) == 5
