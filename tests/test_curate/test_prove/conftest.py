"""A pool and a target of additions, and a random model small enough to train in a second."""

import json
import random
from pathlib import Path

import pytest


def sums(n: int, seed: int, category: str = "sum") -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        a, b = rng.randint(1, 999), rng.randint(1, 999)
        rows.append(
            {
                "id": f"{seed}-{number}",
                "prompt": f"{a} + {b} = ?" + " please" * rng.randint(0, 6),
                "response": f"A: {a + b}" + " so" * rng.randint(0, 8),
                "source": ("left", "right")[number % 2],
                "category": f"{category}-{number % 2}",
            }
        )
    return rows


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def pool_file(tmp_path) -> Path:
    return write(tmp_path / "pool.jsonl", sums(60, 1))


@pytest.fixture
def target_file(tmp_path) -> Path:
    return write(tmp_path / "target.jsonl", sums(24, 2))


@pytest.fixture
def pool(tmp_path, pool_file):
    import curate as cu

    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(pool_file))
    return opened


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory, tiny_tokenizer) -> Path:
    """Folder of a tiny random Llama without a chat template, context 256."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
    tokenizer.chat_template = None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32,
                num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=256,
                bos_token_id=0, eos_token_id=1,
            )
        ).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_rows():
    """Return a function that writes so many additions of a seed as JSON lines."""
    return lambda path, n, seed: write(path, sums(n, seed))
