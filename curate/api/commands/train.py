"""`train`: fine-tune a model on a selection or a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, final

from curate.api.commands.groups import NO_SETTINGS, Training, training_settings
from curate.api.commands.option import option
from curate.api.train import check_rows, train_on
from curate.errors import ConfigError, idle
from curate.train.recipes import is_set
from curate.train.time_limit import stop_after

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.train.record import TrainRecord


# What does nothing unless something is evaluated.
_EVALUATED: Final = (
    ("--extractor", "watch.extractor"), ("--eval-every", "watch.eval_every"),
    ("--patience", "watch.patience"),
)  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class TrainCommand(Training):
    """Fine-tune a model on a selection or a file; rerun the same command to resume."""

    command: ClassVar[str] = "train"

    model: str = option(..., "Model to start from: a folder or a Hugging Face id.", short="-m", takes="model")  # fmt: skip
    output: Path = option(
        ..., "Folder for the weights: a new one, or that of the same run, to resume it.", short="-o"
    )
    selection: str | None = option(None, "Train on this selection of the store.", takes="selection")
    data: str | None = option(None, "Train on this file or Hugging Face id.")
    epochs: int | None = option(None, "Times each row is seen. Default: 1.", setting="length.epochs")  # fmt: skip
    max_steps: int | None = option(None, "Optimiser steps instead of epochs.", setting="length.max_steps")  # fmt: skip
    evaluate: tuple[str, ...] = option((), "Evaluate on this file. Repeatable; --patience watches the first.", flag="--eval")  # fmt: skip
    eval_every: int | None = option(None, "Steps between evaluations. Default: at the end only.", setting="watch.eval_every")  # fmt: skip
    patience: int | None = option(None, "Stop after this many evaluations without improvement.", setting="watch.patience")  # fmt: skip
    save_every: int | None = option(None, "Steps between checkpoints. Default: at the end only.", setting="watch.save_every")  # fmt: skip
    record_trajectories: int | None = option(None, "Record the loss of every example in the store at N points of the run.")  # fmt: skip
    trajectory_source: Literal["run", "train_log"] = option("run", "run: passes over the store. train_log: approximated by the losses of the training steps, one per epoch.")  # fmt: skip
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] | None = option(None, "Send metrics to this tracker: none, tensorboard, wandb or trackio.", setting="watch.report_to")  # fmt: skip
    gradient_checkpointing: bool = option(False, "Less memory, about a third more time.", setting="compute.gradient_checkpointing")  # fmt: skip
    settings: Mapping[str, Any] = option(NO_SETTINGS, "Any other setting: data, length, optimiser, compute, watch, lora, objective, policy or mixture, as in optimiser.clip=0.5 or policy.k=2. Repeatable.", flag="--set", metavar="KEY=VALUE")  # fmt: skip
    device: str = option("auto", "auto, cpu, cuda or cuda:N.", setting="compute.device")
    dtype: str = option("auto", "auto, float32, bfloat16 or float64.", setting="compute.dtype")
    revision: str | None = option(None, "Hub revision of the target model.")
    split: str = option("train", "Split to read, if the dataset has several.")
    seed: int = option(0, "Seed for every random choice.")
    max_hours: float | None = option(None, "Stop after this many hours; finished work is saved.")
    dry_run: bool = option(False, "Print the plan and its cost; change nothing.", places=("flag", "python"))  # fmt: skip

    def check(self) -> None:
        """Raise `ConfigError` for what can be seen to be wrong before anything runs."""
        check_rows(self.selection, self.data)
        if self.max_hours is not None and not self.max_hours > 0:
            raise ConfigError(f"--max-hours must be positive, got {self.max_hours:g}")
        settings = training_settings(self, self.settings)
        flags = [] if self.evaluate else [flag for flag, key in _EVALUATED if is_set(settings, key)]
        if flags:
            raise idle(flags, "without anything to evaluate on: add --eval FILE, or leave {it} out")

    def run(self, pool: "Pool") -> "TrainRecord | dict[str, Any]":
        """Fine-tune the model and write its record to the store; with ``dry_run`` return the plan."""
        self.check()
        given = {} if self.max_tokens is None else {"length.max_tokens": self.max_tokens}
        with stop_after(self.max_hours):
            return train_on(
                pool.store,
                self.output,
                model=self.model,
                selection=self.selection,
                data=self.data,
                evaluate=self.evaluate,
                record_trajectories=self.record_trajectories,
                progress=pool.progress,
                split=self.split,
                settings=training_settings(self, {**given, **self.settings}),
                revision=self.revision,
                seed=self.seed,
                lora=self.lora,
                source=self.trajectory_source,
                dry_run=self.dry_run,
            )
