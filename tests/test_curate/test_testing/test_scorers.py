from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny_nli import save_tiny_nli
from tiny_reward import save_tiny_reward
from tiny_t5 import save_tiny_t5

from curate.contracts import (
    Column,
    DerivedScorer,
    ForwardScorer,
    LoadContext,
    Need,
    PoolScorer,
    Rendering,
    RowScorer,
    Scorer,
    Segment,
    Stat,
)
from curate.errors import ExampleFailure
from curate.registry import get_scorer, names
from curate.testing import ContractError, check_scorer, variants

# Every registered scorer -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def byte_tokenizer():
    """A tokenizer with one token per byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: code for code, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        model_max_length=1024,
    )
    made.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    return made


def save_tiny(folder: Path, tokenizer: Any, config_class: type, model_class: type) -> Path:
    """Save a model of two layers over bytes, its weights drawn with a seed."""
    import torch

    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_target(tmp_path_factory, byte_tokenizer) -> Path:
    """Folder of a small causal language model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-target")
    return save_tiny(folder, byte_tokenizer, LlamaConfig, LlamaForCausalLM)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory, byte_tokenizer) -> Path:
    """Folder of a small encoder; without modules.json it is pooled by the mean."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-encoder")
    return save_tiny(folder, byte_tokenizer, BertConfig, BertModel)


@pytest.fixture(scope="session")
def context(tiny_target, tiny_encoder, tmp_path_factory) -> Callable[[Scorer], LoadContext]:
    """Where a scorer finds a small model for its role."""
    folders = {
        None: None, "target": tiny_target, "proxy": tiny_target, "encoder": tiny_encoder,
        "nli": save_tiny_nli(tmp_path_factory.mktemp("tiny-nli")),
        "reward": save_tiny_reward(tmp_path_factory.mktemp("tiny-reward")),
        "judge": save_tiny_t5(tmp_path_factory.mktemp("tiny-judge")),
    }  # fmt: skip

    def of(scorer: Scorer) -> LoadContext:
        assert scorer.role in folders, f"give the tests a small model for role {scorer.role!r}"
        folder = {"judge": tiny_target, "tags": tiny_target, "classifier": folders["reward"]}.get(
            scorer.name, folders[scorer.role]
        )
        return LoadContext("cpu", "float32", None if folder is None else str(folder))

    return of


@pytest.fixture(scope="session")
def adapter_run(tiny_target, tmp_path_factory) -> Path:
    """Folder of a finished run of an adapter, of two steps and a checkpoint after each."""
    from curate.testing.scorers import EXAMPLES
    from curate.train.api import train
    from curate.train.data import TrainRow
    from curate.train.recipes import build_config

    settings = {
        "lora.r": 2, "length.max_steps": 2, "data.template": "plain", "watch.save_every": 1,
        "data.batch_tokens": 90, "compute.device": "cpu",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("adapter") / "run"
    rows = [TrainRow(example.id, example) for example in EXAMPLES]
    train(build_config(str(tiny_target), settings), rows, folder)
    return folder


def short(scorer: Scorer) -> Scorer:
    """Let a scorer that writes text write little, and one that reads files read a small one."""
    names = {item.name for item in fields(scorer)}
    if "files" in names:
        return replace(scorer, files=(str(Path(__file__).with_name("benchmark.jsonl")),))
    return replace(scorer, max_new_tokens=4) if "max_new_tokens" in names else scorer


SCORERS = [short(one) for name in names("scorer") for one in variants(get_scorer(name))]


@pytest.mark.parametrize("scorer", SCORERS, ids=str)
def test_registered_scorer_keeps_the_contract(scorer, context, request):
    if scorer.name == "adapter-gradients":
        run = request.getfixturevalue("adapter_run")
        scorer = replace(scorer, run=str(run), dim=16)
    check_scorer(scorer, context)


def test_no_scorer_is_left_out():
    assert {scorer.name for scorer in SCORERS} == set(names("scorer"))


# What check_scorer finds -------------------------------------------------------------------------


@dataclass(frozen=True)
class Surprise(ForwardScorer):
    """Mean negative log-likelihood."""

    name: ClassVar[str] = "surprise"
    version: ClassVar[int] = 1
    role: ClassVar[Any] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {"nll": Column("float", "nats; higher is rarer")}
    template: str = "plain"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL})

    def segments(self) -> tuple[Segment, ...]:
        return (Segment("full", Rendering(self.template)),)

    def reduce(self, stats) -> Mapping[str, Any]:
        nll = stats["full"].nll
        if len(nll) == 0:
            raise ExampleFailure("no_scored_tokens")
        return {"nll": float(nll.mean())}


def test_good_forward_scorer_passes():
    check_scorer(Surprise())


DOUBLE = Column("float", "nats")
object.__setattr__(DOUBLE, "dtype", "double")  # past the type checks tests run under


def nan_for_nothing(self, stats):
    nll = stats["full"].nll
    return {"nll": float(nll.mean()) if len(nll) else float("nan")}


def changing(self, stats):
    nll = stats["full"].nll
    nll.setflags(write=True)
    nll += 1
    return {"nll": float(nll.sum())}


def always_failing(self, stats):
    raise ExampleFailure("never")


@pytest.mark.parametrize(
    ("reduce", "message"),
    [
        (nan_for_nothing, "reduce\\(\\) with 0 scored tokens, column 'nll': nan is not finite"),
        (changing, "changes the statistics of 'full'"),
        (always_failing, "fails an ordinary example"),
        (lambda self, stats: {"nll": 1.0, "more": 2.0}, "returns \\['more', 'nll'\\] but declares"),
        (lambda self, stats: {}, "returns \\[\\] but declares \\['nll'\\]"),
        (lambda self, stats: {"nll": 1}, "1 is not a float"),
        (lambda self, stats: {"nll": np.float32(1)}, "float32 is not float64"),
        (lambda self, stats: {"nll": float(np.random.rand())}, "two answers for one input"),
    ],
)
def test_broken_reduction_is_found(reduce, message, monkeypatch):
    monkeypatch.setattr(Surprise, "reduce", reduce)
    with pytest.raises(ContractError, match=message):
        check_scorer(Surprise())


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("version", 0, "has version 0; give a whole number from 1"),
        ("version", True, "has version True"),
        ("outputs", {}, "declares no output columns"),
        ("outputs", {"n l l": Column("float", "nats")}, "declares column 'n l l'"),
        ("outputs", {"nll": "float"}, "not a Column"),
        ("outputs", {"nll": Column("float", " ")}, "does not say what 'nll' means"),
        ("outputs", {"nll": DOUBLE}, "type 'double'"),
        ("role", "teacher", "has role 'teacher'; one of target, proxy"),
        ("unkeyed", frozenset({"server"}), "leaves 'server' out of the key, which is no field"),
        ("emits", [Stat.NLL], "make it a frozenset of Stat"),
        ("segments", lambda self: (), "a tuple of Segment, at least one"),
        ("segments", lambda self: (Segment("a", Rendering("plain")),) * 2, "have one name"),
    ],
)
def test_broken_declaration_is_found(attribute, value, message, monkeypatch):
    monkeypatch.setattr(Surprise, attribute, value)
    with pytest.raises(ContractError, match=message):
        check_scorer(Surprise())


@dataclass(frozen=True)
class NoEnd(ForwardScorer):
    """Lacks score_end."""

    name: ClassVar[str] = "no-end"
    version: ClassVar[int] = 1
    role: ClassVar[Any] = "target"
    outputs: ClassVar[Mapping[str, Column]] = Surprise.outputs
    template: str = "plain"
    emits = Surprise.emits
    segments = Surprise.segments
    reduce = Surprise.reduce


def test_forward_scorer_without_the_common_fields_is_found():
    with pytest.raises(ContractError, match="has no field 'score_end'"):
        check_scorer(NoEnd())


@dataclass(frozen=True)
class Characters(RowScorer):
    """Characters of the response."""

    name: ClassVar[str] = "characters"
    version: ClassVar[int] = 1
    role: ClassVar[Any] = None
    outputs: ClassVar[Mapping[str, Column]] = {"n": Column("int", "characters")}

    def load(self, context):
        return lambda batch: {"n": np.array([len(e.messages[-1]["content"]) for e in batch])}


def test_good_row_scorer_passes_without_a_model():
    check_scorer(Characters())


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda batch: {"n": np.ones(len(batch) + 1, int)}, "returns 4 rows of 'n' for 3 examples"),
        (lambda batch: {"n": np.ones(3, int)}, "returns 3 rows of 'n' for 1 examples"),
        (lambda batch: {"m": np.ones(len(batch), int)}, "returns columns \\['m'\\] but declares"),
        (lambda batch: {"n": np.arange(len(batch))}, "does not follow the order|alone"),
        (lambda batch: {"n": np.full(len(batch), len(batch))}, "in a batch and .* alone"),
        (lambda batch: {"n": ["x"] * len(batch)}, "'x' is not an int"),
        (lambda batch: {"n": np.full(len(batch), 0.5)}, "is not an int"),
    ],
)
def test_broken_row_scorer_is_found(score, message, monkeypatch):
    monkeypatch.setattr(Characters, "load", lambda self, context: score)
    with pytest.raises(ContractError, match=message):
        check_scorer(Characters())


def test_row_scorer_with_a_model_needs_a_context(monkeypatch):
    monkeypatch.setattr(Characters, "role", "judge")
    with pytest.raises(ContractError, match="runs a model; pass check_scorer a context"):
        check_scorer(Characters())
    check_scorer(Characters(), lambda scorer: LoadContext("cpu", "float32", "a folder"))


def with_extra(**extra):
    """Characters, with columns beside the outputs."""
    return lambda self, context: (
        lambda batch: {
            "n": np.array([len(e.messages[-1]["content"]) for e in batch]),
            **{name: make(batch) for name, make in extra.items()},
        }
    )


def test_reasons_and_tokens_may_come_beside_the_outputs(monkeypatch):
    def reasons(batch):
        return np.array(["odd" if e.id[0] == "b" else None for e in batch], dtype=object)

    fine = with_extra(failure=reasons, tokens_run=lambda batch: np.ones(len(batch), int))
    monkeypatch.setattr(Characters, "load", fine)
    check_scorer(Characters())
    monkeypatch.setattr(Characters, "load", with_extra(failure=lambda batch: [1] * len(batch)))
    with pytest.raises(ContractError, match="column 'failure': 1 is not text"):
        check_scorer(Characters())


@dataclass(frozen=True)
class Doubled(DerivedScorer):
    """Twice the length that a row scorer counted."""

    name: ClassVar[str] = "doubled"
    version: ClassVar[int] = 1
    role: ClassVar[Any] = None
    outputs: ClassVar[Mapping[str, Column]] = {"n": Column("int", "twice the tokens")}

    def requires(self):
        return {"length": Need("length", "target")}

    def load(self, context):
        return lambda batch, read: {"n": 2 * read["length.response_tokens"]}


def test_derived_scorer_is_checked_on_what_it_reads(context, monkeypatch):
    check_scorer(Doubled(), context)
    with pytest.raises(ContractError, match="scorer length.* runs a model; pass check_scorer"):
        check_scorer(Doubled())
    monkeypatch.setattr(
        Doubled, "load", lambda self, c: lambda batch, read: {"n": np.arange(len(batch))}
    )
    with pytest.raises(ContractError, match="'n' does not follow the order"):
        check_scorer(Doubled(), context)
    monkeypatch.setattr(Doubled, "requires", lambda self: {"far": Need("knn")})
    with pytest.raises(ContractError, match="scorer knn.* does not score one example at a time"):
        check_scorer(Doubled(), context)
    monkeypatch.setattr(Doubled, "requires", lambda self: {})
    with pytest.raises(ContractError, match="reads nothing; make it a RowScorer"):
        check_scorer(Doubled(), context)


@dataclass(frozen=True)
class Rank(PoolScorer):
    """Rank of a score in the pool."""

    name: ClassVar[str] = "rank"
    version: ClassVar[int] = 1
    role: ClassVar[Any] = None
    outputs: ClassVar[Mapping[str, Column]] = {"rank": Column("int", "from 0, smallest first")}

    def requires(self):
        return {"mine": Need(None)}

    def run(self, view, device):
        return {"rank": np.argsort(np.argsort(view.scores("mine.score"), kind="stable"))}


def test_pool_scorer_is_checked_for_rows_and_repeatability(monkeypatch):
    columns = {"mine.score": Column("float", "anything")}
    check_scorer(Rank(), columns=columns)
    monkeypatch.setattr(Rank, "run", lambda self, view, device: {"rank": np.arange(3)})
    with pytest.raises(ContractError, match="returns 3 rows of 'rank' for 90 examples"):
        check_scorer(Rank(), columns=columns)
    generator = np.random.default_rng(0)
    monkeypatch.setattr(
        Rank, "run", lambda self, view, device: {"rank": generator.permutation(len(view))}
    )
    with pytest.raises(ContractError, match="two answers for 'rank' of one pool"):
        check_scorer(Rank(), columns=columns)
