"""Figures of training beside the trainers people use: transformers' own, and TRL's, with packing and without."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from jobs.bench.figure import Bench, Figure, Goal, judged, unmeasured
from jobs.bench.kernel import DTYPE, bare_model, load
from jobs.bench.libraries import Way, make_trainer
from jobs.bench.paired import THREADS, fixed_threads, listed
from jobs.bench.training import BATCH_TOKENS, LR, rendered, train_rows, trained

if TYPE_CHECKING:
    from curate.models.text.render import Rendered
    from curate.train.data import TrainRow

ROWS: Final = 4  # a padded pass; 8 and 16 have more padding and were slower
PACK_TOKENS: Final = 1_024  # TRL's default, and as long as the model reads
WARM_UP: Final = ROWS
IN_ORDER: Final = Way("in random order", ROWS)
GROUPED: Final = Way(
    "grouped by length", ROWS, settings={"train_sampling_strategy": "group_by_length"}
)
PACKED: Final = Way.packed("packing", PACK_TOKENS)
UNPACKED: Final = Way("no packing", ROWS, by_trl=True)
PADDING_FREE: Final = Way.padding_free("padding-free", ROWS)


def against_trainer(bench: Bench) -> Figure:
    """Trained tokens per second of the whole loop, by those of transformers' Trainer on the same rows."""
    reference = (
        "trained tokens/s of the loop (its checkpoint included), by those of Trainer.train() with "
        "DataCollatorForSeq2Seq, rows in random order, padded, nothing saved"
    )
    return _against(bench, "train-trainer", Goal(">=", 1.0, "x"), reference, (IN_ORDER, GROUPED))


def against_trl(bench: Bench) -> Figure:
    """Trained tokens per second of the whole loop, by those of TRL's SFTTrainer on the same rows."""
    goal = Goal(">=", 0.9, "x")
    reference = (
        "trained tokens/s of the loop (its checkpoint included), by those of SFTTrainer.train() "
        "with packing (best fit decreasing), nothing saved"
    )
    if find_spec("trl") is None:
        return unmeasured("train-trl", goal, reference, "pip install trl")
    return _against(bench, "train-trl", goal, reference, (PACKED, UNPACKED, PADDING_FREE))


def _against(bench: Bench, name: str, goal: Goal, reference: str, ways: Sequence[Way]) -> Figure:
    """Run our loop and some ways in turns; the first way is the reference, the others are details."""
    folder = bench.inputs.model()
    rows = train_rows(bench, bench.sizes.trainers)
    with fixed_threads():
        tokenizer = load(folder).model.tokenizer
        texts = rendered(folder, rows)
        n_tokens = sum(len(text.ids) for text in texts)
        step = min(BATCH_TOKENS, n_tokens)
        sides = [_Theirs(folder, tokenizer, way, texts, step) for way in ways]
        ours = _Ours(folder, rows, step, bench.inputs.work)
        _warm_up(ours, sides)
        for number in range(bench.sizes.runs):
            for at in range(len(sides) + 1):
                turn = (at + number) % (len(sides) + 1)
                if turn == 0:
                    with bench.profiled():
                        ours.run()
                else:
                    sides[turn - 1].run()
    return _judged(name, goal, reference, ours, sides)


def _warm_up(ours: "_Ours", sides: "Sequence[_Theirs]") -> None:
    """Run every side on a few rows, for the libraries to be loaded and memory to be there."""
    few = sides[0].texts[:WARM_UP]
    _Ours(ours.folder, ours.rows[:WARM_UP], sum(len(text.ids) for text in few), ours.work).run()
    for side in sides:
        replace(side, texts=few, spent=[]).run()


def _judged(
    name: str, goal: Goal, reference: str, ours: "_Ours", sides: "Sequence[_Theirs]"
) -> Figure:
    texts = sides[0].texts
    n_tokens = sum(len(text.ids) for text in texts)
    ratios = [[t / o for o, t in zip(ours.spent, side.spent, strict=True)] for side in sides]
    first, *others = zip(sides, ratios, strict=True)
    also = "".join(
        f"; {side.way.words}: {statistics.median(found):.2f} x ({listed(found)}), {side.rate:,.0f} tokens/s"
        for side, found in others
    )
    steps = ", ".join(f"{side.way.words} {side}" for side in sides)
    losses = ", ".join(f"{side.way.words} {side.loss:.2f}" for side in sides)
    detail = (
        f"{listed(first[1])}; {n_tokens / statistics.median(ours.spent):,.0f} against {first[0].rate:,.0f} "
        f"tokens/s, {first[0].way.words}{also}; one epoch of {len(texts)} rows, {n_tokens:,} tokens, "
        f"{sum(len(text.targets) for text in texts):,} of them scored; steps of {ours.step:,} tokens, theirs: "
        f"{steps}; mean loss of the steps {ours.loss:.2f}, theirs, one warm-up step behind: {losses}; rendering, "
        f"packing and loading the model not counted, nor a first run of {WARM_UP} rows; AdamW, theirs fused, {DTYPE}, {THREADS} "
        "thread"
    )
    return judged(name, statistics.median(first[1]), goal, reference, detail)


@final
@dataclass(slots=True)
class _Ours:
    """Our loop over some rows: seconds of each run, and the mean loss of the steps of the last."""

    folder: Path
    rows: "Sequence[TrainRow]"
    step: int
    work: Path
    spent: list[float] = field(default_factory=list)
    loss: float = 0.0

    def run(self) -> None:
        """Train for one epoch."""
        record = trained(self.folder, self.rows, self.step, self.work)
        self.spent.append(record.cost.seconds)
        self.loss = float(record.history[:, 0].mean())


@final
@dataclass(slots=True)
class _Theirs:
    """A library's loop over some rows: seconds of each run, and the mean loss of the steps of the last."""

    folder: Path
    tokenizer: Any
    way: Way
    texts: "Sequence[Rendered]"
    step: int
    spent: list[float] = field(default_factory=list)
    loss: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second of the median run, counted as ours."""
        return sum(len(text.ids) for text in self.texts) / statistics.median(self.spent)

    @property
    def passes(self) -> int:
        """Forward passes of a step."""
        n_tokens = sum(len(text.ids) for text in self.texts)
        return self.way.passes(len(self.texts) * self.step / n_tokens, self.step)

    def __str__(self) -> str:
        packs = self.way.pack_tokens
        each = f"{self.way.rows} rows" if packs is None else f"{packs:,} tokens"
        return f"{self.passes} x {each}"

    def run(self) -> None:
        """Train for one epoch."""
        model = bare_model(self.folder).train().requires_grad_(True)
        with tempfile.TemporaryDirectory() as output:
            settings = {
                "output_dir": output, "learning_rate": LR, "num_train_epochs": 1, "use_cpu": True,
                "gradient_accumulation_steps": self.passes,
            }  # fmt: skip
            made = make_trainer(model, self.tokenizer, self.texts, self.way, settings)
            began = time.perf_counter()
            outcome = made.train()
            self.spent.append(time.perf_counter() - began)
        self.loss = float(outcome.training_loss)
