"""Steps of transformers' Trainer and of TRL's, over the rows of the line about training."""

import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from curate.models.text.render import Rendered
from jobs.bench.gpu.bench import Bench
from jobs.bench.gpu.shapes import LONGEST
from jobs.bench.libraries import Way, make_trainer

ROWS: Final = 8  # the default of a pass
EPOCHS: Final = 3  # the first is not counted
PADDED: Final = (
    Way("transformers' Trainer, padded", ROWS),
    Way(
        "transformers' Trainer, grouped by length", ROWS,
        settings={"train_sampling_strategy": "group_by_length"},
    ),
)  # fmt: skip
BY_TRL: Final = (
    Way("TRL, no packing", ROWS, by_trl=True),
    Way.packed("TRL, packing", LONGEST + 1),
)


def ways() -> Iterator[tuple[Way, str]]:
    """Yield every way with why it cannot be measured here, empty if it can."""
    absent = "" if find_spec("trl") else "not measured: trl is not installed"
    for way in PADDED:
        yield way, ""
    for way in BY_TRL:
        yield way, absent


def trainer_step(
    bench: Bench, model: Any, rows: Sequence[Rendered], way: Way
) -> tuple[float, float]:
    """Return the median seconds of a step over all rows by a library, and the peak GiB of memory.

    A step is an epoch. TRL leaves its own head on the model.
    """
    import torch

    with TemporaryDirectory() as output:
        settings = {
            "output_dir": output, "num_train_epochs": EPOCHS, "use_cpu": not bench.is_cuda,
            "gradient_accumulation_steps": len(rows), "bf16": True, "learning_rate": 2e-5,
        }  # fmt: skip
        made = make_trainer(model, no_tokenizer(), rows, way, settings)
        clock = _clock(bench)
        made.add_callback(clock)
        bench.wait()
        if bench.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        made.train()
        made.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # the next one wraps it again
    peak = torch.cuda.max_memory_allocated() / 1024**3 if bench.is_cuda else 0.0
    return median(clock.spent[1:]), peak


def _clock(bench: Bench) -> Any:
    """Return a callback that notes the seconds of every epoch, the device waited for."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.spent: list[float] = []

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            bench.wait()
            self._began = time.perf_counter()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            bench.wait()
            self.spent.append(time.perf_counter() - self._began)

    return Clock()


def no_tokenizer() -> Any:
    """Return a tokenizer for padding alone: the rows are ids already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    wrapped: Any = PreTrainedTokenizerFast
    end = "<end>"
    only = Tokenizer(WordLevel({end: 0}, unk_token=end))
    return wrapped(tokenizer_object=only, eos_token=end, pad_token=end)
