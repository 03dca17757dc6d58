"""Small models and rows to train on, and the fixtures that hand them out."""

import hashlib
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curate.contracts import Example
from curate.train.config import (
    ComputeConfig,
    LengthConfig,
    OptimiserConfig,
    TrainConfig,
)
from curate.train.data import TrainRow
from curate.train.data_config import DataConfig


def make_rows(n: int, seed: int = 0, source: str = "") -> list[TrainRow]:
    """Additions and repetitions of very different lengths."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        a, b = rng.randint(1, 99), rng.randint(1, 99)
        question = f"{a} + {b} = ?" + " please" * rng.randint(0, 12)
        answer = f"A: {a + b}" + " so" * rng.randint(0, 20)
        text = f"{source}{seed}:{number}:{question}"
        messages = (
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        )
        row_id = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        rows.append(TrainRow(row_id, Example(row_id, messages), source=source))
    return rows


def save_model(
    folder: Path, tokenizer_folder: Path, *, chat: bool = False, **overrides: Any
) -> Path:
    """Save a Llama of two layers, its weights drawn with a seed."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    if not chat:
        tokenizer.chat_template = None
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": 1,
        **overrides,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gradient_of(config: TrainConfig, rows: list[TrainRow], step: int | None = 0) -> dict[str, Any]:
    """Return the gradient of a global batch (None: of all rows), before clipping and the optimiser."""
    import numpy as np

    from curate.contracts import Rendering
    from curate.models.load import load_tokenizer, resolve_model
    from curate.models.text.render import Renderer
    from curate.train.data import prepare
    from curate.train.model import load_trained_model
    from curate.train.processes import Processes, reproducible
    from curate.train.steps.step import GradientMaker
    from curate.train.steps.stream import open_stream

    resolved = resolve_model(config.model)
    config = config.resolved(has_chat_template=resolved.chat_template_hash is not None)
    renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length)
    prepared = prepare(rows, renderer, Rendering(config.data.template))
    processes = Processes.join("cpu")
    with reproducible(processes.device, config.compute.threads):
        model = load_trained_model(resolved, config, processes.device)
        model.whole.train()
        micro, objective = config.data.micro_tokens, config.method.objective
        assert micro is not None
        maker = GradientMaker(model, prepared, objective, processes, micro, config.seed)
        everything = np.arange(len(prepared))
        batch = everything if step is None else open_stream(prepared, config).batch(step)
        found = maker.gradient(batch, step or 0)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return {**gradients, "loss": found.loss, "nll": found.nll}


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory, tiny_tokenizer) -> Path:
    """Folder of a tiny random Llama without a chat template, context 512."""
    return save_model(tmp_path_factory.mktemp("tiny-llama"), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory, tiny_tokenizer) -> Path:
    """Folder of a tiny random Llama with a chat template, tied embeddings."""
    folder = tmp_path_factory.mktemp("tiny-chat")
    return save_model(folder, tiny_tokenizer, chat=True, tie_word_embeddings=True)


@pytest.fixture(scope="session")
def config(tiny_llama):
    """Make a configuration of a short run on one thread; groups of settings can be replaced."""

    def make(**overrides: Any) -> TrainConfig:
        settings: dict[str, Any] = {
            "model": str(tiny_llama),
            "data": DataConfig(batch_tokens=1024, micro_tokens=512),
            "length": LengthConfig(max_steps=4),
            "optimiser": OptimiserConfig(lr=3e-3),
            "compute": ComputeConfig(device="cpu", dtype="float32", threads=1),
            **overrides,
        }
        return TrainConfig(**settings)

    return make


@pytest.fixture(scope="session")
def make():
    """Return the functions tests build rows, models and gradients with."""
    return SimpleNamespace(rows=make_rows, model=save_model, gradient=gradient_of)


@pytest.fixture(scope="session")
def rows() -> list[TrainRow]:
    """Eighty rows."""
    return make_rows(80)
