"""Figures of InstructMining's indicators: UniEval's answers, and distances to neighbours."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import Example, LoadContext
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.inputs import SEED, Inputs
from jobs.bench.paired import THREADS, fixed_threads, interleave, listed, one_blas_thread

if TYPE_CHECKING:
    from curate.contracts import Columns

POOL: Final = "dolly_15k"  # one of the pools of the paper
DTYPE: Final = "float32"
VOCABULARY: Final = 32_128  # rows of the head of every T5 of Google
T5_SHAPE: Final[Mapping[str, Any]] = {
    "d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
BATCH: Final = 8
LIMIT: Final = 1_024
AGREEMENT: Final = 1e-4

NEIGHBOUR: Final = 6
DIM: Final = 384
DISTANCE_AGREEMENT: Final = 1e-3  # faiss measures in single precision
WARM_UP: Final = 500


def unieval(bench: Bench) -> Figure:
    """UniEval's three scores, against its official way: batches of 8, full vocabulary, three passes."""
    import torch

    from curate.scorers.unieval import QUESTIONS, UniEval

    goal = Goal(">=", 5.0, "x")
    folder = t5_model(bench.inputs)
    with fixed_threads(), torch.inference_mode():
        score = UniEval().load(LoadContext("cpu", DTYPE, str(folder)))
        official = Official.load(folder)
        examples = bench.inputs.examples(POOL, bench.sizes.kernel)
        ours, theirs = score(examples), official.run(examples)
        apart = max(float(np.abs(ours[name] - theirs[name]).max()) for name in QUESTIONS)
        times = interleave(bench, score, official.run, [examples], bench.sizes.runs)
    tokens = int(ours["tokens_run"].sum())
    agreed = apart <= AGREEMENT
    detail = (
        f"{listed(times.speedups)}; {times.rates(tokens)}; {len(examples)} rows, "
        f"{tokens / len(examples) / 3:.0f} tokens a prompt; largest difference of a score {apart:.1e}"
        f"{'' if agreed else ', which is too much for a comparison'}; a T5 of 2 layers, width 128 and "
        f"{VOCABULARY:,} tokens, {DTYPE}, {THREADS} thread"
    )
    reference = (
        f"time of UniEval's official way (three passes, batches of {BATCH} in the order of the rows, "
        "full-vocabulary softmax), by that of the scorer, tokenisation on both sides"
    )
    return judged(
        "unieval", statistics.median(times.speedups), goal, reference, detail, also=agreed
    )


def knn(bench: Bench) -> Figure:
    """Exact distances to the 6th neighbour, against a bare flat index of faiss."""
    import faiss

    from curate.algorithms.neighbours import neighbour_distance
    from curate.contracts.view import Vectors

    goal = Goal("<=", 1.3, "x")
    n = bench.sizes.stored // 10
    points = np.random.default_rng(SEED).normal(size=(n, DIM)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found: dict[str, np.ndarray] = {}

    def ours(rows: np.ndarray) -> None:
        found["ours"] = neighbour_distance(Vectors(rows), NEIGHBOUR)

    def flat(rows: np.ndarray) -> None:
        index = faiss.IndexFlatL2(DIM)
        index.add(rows)
        squared, _ = index.search(rows, NEIGHBOUR + 1)
        found["faiss"] = np.sqrt(squared[:, NEIGHBOUR])

    with fixed_threads(), one_blas_thread():
        work = [points, points[:WARM_UP]]  # the last piece is also the untimed one
        times = interleave(bench, ours, flat, work, 1)
        ours(points[: 10 * WARM_UP])
        flat(points[: 10 * WARM_UP])
    apart = float(np.abs(found["ours"] - found["faiss"]).max())
    agreed = apart <= DISTANCE_AGREEMENT
    detail = (
        f"one run: {listed(times.ours, 1)} against {listed(times.reference, 1)} s; {n:,} vectors of "
        f"{DIM}, neighbour {NEIGHBOUR}; largest difference of a distance {apart:.1e}"
        f"{'' if agreed else ', which is too much for a comparison'}; {THREADS} thread"
    )
    reference = "time of exact distances to a neighbour, by that of a bare faiss.IndexFlatL2 search"
    return judged("knn", statistics.median(times.costs), goal, reference, detail, also=agreed)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Official:
    """UniEval as published: a loop over dimensions, a loop over batches, softmax over all tokens."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path) -> "Official":
        """Load the model as anybody would."""
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        model: Any = AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=getattr(torch, DTYPE), trust_remote_code=False
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return cls(model.eval(), tokenizer)

    def run(self, examples: Sequence[Example]) -> "Columns":
        """Return the score of each dimension."""
        from curate.scorers.unieval import QUESTIONS, UniEval

        prompts = [
            UniEval.prompts((one.messages[0]["content"], one.messages[1]["content"]))
            for one in examples
        ]
        by_question: Mapping[str, Sequence[str]] = dict(
            zip(QUESTIONS, zip(*prompts, strict=True), strict=True)
        )
        return {name: np.array([*self._scores(texts)]) for name, texts in by_question.items()}

    def _scores(self, texts: Sequence[str]) -> Iterator[float]:
        yes, no = (self.tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
        for start in range(0, len(texts), BATCH):
            encoded = self.tokenizer(
                list(texts[start : start + BATCH]), max_length=LIMIT, truncation=True,
                padding=True, return_tensors="pt",
            )  # fmt: skip
            ids = encoded["input_ids"]
            labels = self.tokenizer(["No"] * len(ids), return_tensors="pt")["input_ids"][:, :1]
            mask = encoded["attention_mask"]
            logits = self.model(input_ids=ids, attention_mask=mask, labels=labels).logits
            logits = logits.view(-1, self.model.config.vocab_size)
            p_yes, p_no = logits.softmax(1)[:, yes], logits.softmax(1)[:, no]
            yield from (p_yes / (p_yes + p_no)).tolist()


def t5_model(inputs: Inputs) -> Path:
    """Write a random T5 with the tokenizer of the other figures, which then ends texts as T5 does."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    folder = inputs.work / "model-t5"
    if folder.is_dir():
        return folder
    shape: dict[str, Any] = dict(T5_SHAPE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        config = T5Config(vocab_size=VOCABULARY, **shape)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(inputs.tokenizer(), trust_remote_code=False)
    end = tokenizer.eos_token
    tokenizer.pad_token = tokenizer.pad_token or end
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    return folder
