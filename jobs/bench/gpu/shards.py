"""A shard of made-up texts through a worker's pass, with a tokenizer trained on the spot."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.models.load import LoadedModel
from curate.models.text.render import Renderer
from curate.scorers.likelihood import Likelihood
from curate.scoring.passes import ForwardPass
from curate.scoring.plan import Pass, PassMember
from curate.scoring.windows import windows
from jobs.bench.gpu.bench import Bench
from jobs.bench.gpu.shapes import LOG_SPREAD, MEDIAN_TOKENS, SEED

WORDS: Final = 4_000
TOKENS_A_WORD: Final = 5.5
BATCH_TOKENS: Final = 32_768


def run_shard(
    folder: Path, bench: Bench, model: LoadedModel, n: int, *, ahead: bool
) -> tuple[int, int, float, float]:
    """Return rows, tokens, and seconds of the pass over a shard and of rendering it alone."""
    shard, tokenizer = _shard(folder, n), _tokenizer(folder)
    member = PassMember("set", "likelihood", Likelihood(template="plain"))
    spec = Pass((member,), None, model.dtype, BATCH_TOKENS)
    one = ForwardPass(spec, model.device, replace(model, tokenizer=tokenizer))
    began = time.perf_counter()
    whole = list(windows(Renderer(tokenizer, None), spec.renderings, shard))
    read_s = time.perf_counter() - began
    assert sum(len(window.ids) for window in whole) == n
    if not ahead:
        one.window = None
    for _ in range(2):  # the first run is not counted
        began = time.perf_counter()
        ((_, facts),) = one.run(shard).values()
        bench.wait()
        seconds = time.perf_counter() - began
    return n, int(facts["tokens"]), seconds, read_s


def _shard(folder: Path, n: int) -> Path:
    path = folder / "shard.parquet"
    rng = np.random.default_rng(SEED)
    words = [f"{'bcdfghklmnprst'[i % 14]}{'aeiou'[i % 5]}{i}" for i in range(WORDS)]
    half = np.exp(rng.normal(np.log(MEDIAN_TOKENS / 2), LOG_SPREAD, (n, 2))).clip(2, 1_000)
    rows = []
    for number in range(n):
        asked, said = (
            " ".join(words[k] for k in rng.integers(0, WORDS, max(1, int(size / TOKENS_A_WORD))))
            for size in half[number]
        )
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        rows.append({"id": f"{number:032x}", "messages": json.dumps(messages), "tools": None})
    schema = pa.schema([("id", pa.string()), ("messages", pa.string()), ("tools", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def _tokenizer(folder: Path) -> Any:
    """Return a byte-level tokenizer that cuts a word into five or six tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    merges = []
    for first in ["Ġ", *"bcdfghklmnprst"]:
        for second in "bcdfghklmnprst" if first == "Ġ" else "aeiou":
            merges.append((first, second))
            vocabulary[first + second] = len(vocabulary)
    vocabulary["</s>"] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=backend, eos_token="</s>")
