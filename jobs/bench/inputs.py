"""Rows and models to measure with: real ones where they are, generated ones of the same shape else."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from curate.contracts import Example
from jobs.bench.machine import ROOT

REAL_MODEL: Final = "tiny-english-6m"
SEED: Final = 0
SMALL_VOCABULARY: Final = 4_096
LARGE_VOCABULARY: Final = 32_768


@final
@dataclass(slots=True)
class Inputs:
    """Where rows and models come from; makes what is missing, once, in a working folder.

    ``notes`` collects, for the report, what had to be generated.
    """

    work: Path
    notes: dict[str, None] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where real datasets lie: ``CURATE_REALDATA``, or beside the repository."""
        return Path(os.environ.get("CURATE_REALDATA") or ROOT.parent / "shared" / "data")

    def examples(self, name: str, n: int) -> list[Example]:
        """Return n rows of a real dataset, drawn uniformly with a fixed seed, or of a generated pool."""
        import numpy as np
        import pyarrow.parquet as pq

        table = pq.read_table(self.parquet(name), columns=["prompt", "response"])
        rng = np.random.default_rng(SEED)
        chosen = np.sort(rng.permutation(table.num_rows)[:n])
        return _examples(table.take(chosen).to_pylist())

    def answers(self, name: str, n: int) -> list[Example]:
        """Return n rows of a real dataset: all answers to prompts that are drawn uniformly."""
        import numpy as np
        import pyarrow.parquet as pq

        of_prompt: dict[str, list[dict[str, str]]] = {}
        for row in pq.read_table(self.parquet(name), columns=["prompt", "response"]).to_pylist():
            of_prompt.setdefault(row["prompt"], []).append(row)
        groups = [rows for rows in of_prompt.values() if len(rows) > 1]
        order = np.random.default_rng(SEED).permutation(len(groups)).tolist()
        return _examples([row for number in order for row in groups[number]][:n])

    def parquet(self, name: str) -> Path:
        """Return the Parquet file of a real dataset, or of the generated pool."""
        real = self.folder / f"{name}.parquet"
        if real.is_file():
            return real
        self.notes[f"no {name}.parquet found: the pool of `curate demo` was measured instead"] = (
            None
        )
        return self._generated_pool()

    def parquet_of(self, name: str, n: int | None) -> Path:
        """Return the first n rows of a dataset as a Parquet file; None is all of them."""
        import pyarrow.parquet as pq

        path = self.parquet(name)
        if n is None:
            return path
        head = self.work / f"{name}-{n}.parquet"
        pq.write_table(pq.read_table(path).slice(0, n), head, compression="zstd")
        return head

    def model(self, vocabulary: int = SMALL_VOCABULARY) -> Path:
        """Return a model of 6M parameters: the real one, or random weights in its shape.

        Another vocabulary than the real model's has random weights and the same token ids.
        """
        real = self._real_model()
        if real is not None and vocabulary == SMALL_VOCABULARY:
            return real
        if real is None:
            self.notes[f"no model {REAL_MODEL} found: random weights in its shape"] = None
        return random_model(
            self.work / f"model-{vocabulary}", self.tokenizer(), SIX_MILLION, vocabulary
        )

    def tiny_model(self) -> Path:
        """Return a random model so small that it takes no time of its own."""
        return random_model(self.work / "model-tiny", self.tokenizer(), TINY, SMALL_VOCABULARY)

    def tokenizer(self) -> Path:
        """Return a folder with a tokenizer: the real model's, or the demo's."""
        real = self._real_model()
        if real is not None:
            return real
        folder = self.work / "tokenizer"
        if not folder.is_dir():
            import transformers

            from curate.demo.model import BEGIN, END, build_tokenizer

            wrapped: Any = transformers.PreTrainedTokenizerFast
            made = wrapped(tokenizer_object=build_tokenizer(), bos_token=BEGIN, eos_token=END)
            made.save_pretrained(folder)
        return folder

    def short_rows(self, n: int) -> Path:
        """Return a JSONL file of n distinct short examples."""
        path = self.work / f"short-{n}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in _sums(n))
        return path

    def _real_model(self) -> Path | None:
        folder = self.folder.parent / "models" / REAL_MODEL
        return folder if (folder / "config.json").is_file() else None

    def _generated_pool(self) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from curate.demo.pool import build_pool

        path = self.work / "demo-pool.parquet"
        if not path.is_file():
            rows = build_pool()
            columns = {name: [getattr(r, name) for r in rows] for name in ("prompt", "response")}
            pq.write_table(pa.table(columns), path, compression="zstd")
        return path


SIX_MILLION: Final = {
    "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}  # fmt: skip
TINY: Final = SIX_MILLION | {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1,
    "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip


def random_model(folder: Path, tokenizer: Path, shape: dict[str, Any], vocabulary: int) -> Path:
    """Write a Llama with random weights and a copy of a tokenizer; return its folder."""
    if folder.is_dir():
        return folder
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **shape)).save_pretrained(folder)
    for path in tokenizer.glob("*token*"):
        shutil.copy(path, folder / path.name)
    return folder


def _examples(rows: Iterable[Mapping[str, str]]) -> list[Example]:
    return [
        Example(
            f"{number:032x}",
            (
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["response"]},
            ),
        )
        for number, row in enumerate(rows)
    ]


def _sums(n: int) -> Iterator[dict[str, str]]:
    for number in range(n):
        yield {"prompt": f"Add {number} and {number % 97}.", "response": str(number + number % 97)}
