"""The training loop: take a batch, let the policy choose, step, and what is due after a step."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch

from curate.contracts import BatchStats
from curate.contracts.progress import Progress
from curate.errors import InterruptedRunError, TrainError
from curate.train.checkpoints import Checkpoint, RunFolder, load_weights
from curate.train.config import TrainConfig
from curate.train.data import Prepared
from curate.train.evaluation.evaluate import Evaluation, evaluation_tensors, evaluations_from
from curate.train.evaluation.generation import evaluate_fully, evaluation_key
from curate.train.processes import Processes, is_finite
from curate.train.record import HISTORY, energy_j
from curate.train.steps.batches import Rows
from curate.train.steps.fused_head import fused_head
from curate.train.steps.optimiser import (
    gradient_norm,
    make_optimiser,
    moment_bytes,
    optimiser_tensors,
    restore_optimiser,
    set_rate,
)
from curate.train.steps.pass_size import pass_size
from curate.train.steps.step import GradientMaker
from curate.train.steps.stream import Stream

if TYPE_CHECKING:
    from curate.train.model import TrainedModel
    from curate.train.recorder import Recorder

POLICY: Final = 4  # first word of the seeds, besides those of `curate.train.steps.stream`
STAGE: Final = "training"
_SHOWN: Final = 5
_EVALUATION: Final = "evaluation/"


@final
@dataclass(slots=True)
class Counters:
    """A run's progress so far; JSON in every checkpoint."""

    tokens: int = 0
    padded_tokens: int = 0
    other_tokens: int = 0
    seconds: float = 0.0
    energy_j: float | None = None
    best_nll: float | None = None
    best_step: int | None = None
    n_worse: int = 0
    stopped_early: bool = False
    policy: dict[str, Any] = field(default_factory=dict)


@final
class Loop:
    """One run of the loop over its steps; everything it changes is in a checkpoint."""

    def __init__(
        self,
        config: TrainConfig,
        model: "TrainedModel",
        prepared: Prepared,
        stream: Stream,
        evaluation: Mapping[str, Prepared],
        folder: RunFolder,
        processes: Processes,
        recorder: "Recorder",
        progress: Progress,
    ) -> None:
        # Nine parts, each made and tested on its own; the loop only brings them together.
        assert config.data.micro_tokens is not None
        self.config = config
        self.model = model
        self.prepared = prepared
        self.stream = stream
        self.evaluation = evaluation
        self.folder = folder
        self.processes = processes
        self.recorder = recorder
        self.progress = progress
        self.step = 0
        self.counters = Counters(policy=config.method.policy.initial_state())
        self.history: list[tuple[float, ...]] = []
        self.evaluations: list[Evaluation] = []
        self._lengths = prepared.lengths
        self._n_targets = prepared.n_targets
        self._parameters = dict(model.named_parameters())
        self._optimiser = make_optimiser(self._parameters, config.optimiser)
        fused, self._logits_because = fused_head(config.compute.fused_loss, model)
        self._maker = GradientMaker(
            model,
            prepared,
            config.method.objective,
            processes,
            config.data.micro_tokens,
            config.seed,
            fused,
            progress.note,
        )
        self._interrupted = False
        self._began = self._saved = time.perf_counter()
        self._energy = energy_j(processes.device)

    def fit_passes(self) -> TrainConfig:
        """Make forward passes as large as a GPU has memory for, and return the settings with that size.

        Runs a few passes and forgets them. On a CPU the size stays what it is.
        """
        config, processes = self.config, self.processes
        least = self._maker.micro_tokens
        if processes.device.type != "cuda":
            return config
        moments = moment_bytes(self._parameters, config.optimiser)
        self.model.whole.train()
        tokens = pass_size(
            lambda size: self._maker.fits(size, moments),
            least,
            config.data.batch_tokens // processes.count,
        )
        self._maker.micro_tokens = tokens
        self.progress.note(f"forward passes of {tokens:,} tokens, by the memory of the GPU")
        return replace(config, data=replace(config.data, micro_tokens=tokens))

    def run(self) -> None:
        """Train from the last checkpoint, or the start, to the end.

        Raises `TrainError` for a loss or gradient that is not finite, `InterruptedRunError` on
        SIGINT, SIGTERM or SIGHUP after saving a checkpoint.
        """
        self._resume()
        self.model.whole.train()
        self.progress.start(STAGE, self.stream.n_steps, "steps", done=self.step)
        with _on_signal(self._interrupt):
            while self.step < self.stream.n_steps and not self.counters.stopped_early:
                self._train()
                self._after_step()
        self.progress.finish(STAGE)
        self._clock()
        best = self.counters.best_step
        if self.config.watch.patience is not None and best is not None and best != self.step:
            self._load_best(best)

    @property
    def fused_loss(self) -> str:
        """Which kernel computed the loss, or why it was computed from logits."""
        return self._logits_because or self._maker.fused_loss

    @property
    def final_step(self) -> int:
        """Step whose weights the run ends with: the best one if early stopping is on."""
        best = self.counters.best_step
        return self.step if self.config.watch.patience is None or best is None else best

    def _train(self) -> None:
        config, step = self.config, self.step
        rows = self._chosen(self.stream.batch(step))
        gradient = self._maker.gradient(rows, step)
        norm = gradient_norm(list(self._parameters.values()), config.optimiser.clip)
        if not is_finite(gradient.loss, norm):
            raise TrainError(self._not_finite(rows, gradient.nll, gradient.loss, norm))
        set_rate(self._optimiser, config.optimiser.rate(step, self.stream.n_steps))
        self._optimiser.step()
        self.step += 1
        tokens = int(self._lengths[rows].sum())
        self.counters.tokens += tokens
        self.counters.padded_tokens += gradient.padded_tokens
        mean = float(gradient.nll.sum() / self._n_targets[rows].sum())
        self.history.append((gradient.loss, mean, norm, float(tokens)))
        self.stream.observe(rows, gradient.nll)
        self.recorder.observe(self.step, rows, gradient.nll / self._n_targets[rows])
        self._report({name: self.history[-1][i] for i, name in enumerate(HISTORY)})
        self.progress.advance(STAGE, 1)

    def _chosen(self, rows: Rows) -> Rows:
        policy = self.config.method.policy
        losses = np.full(len(rows), np.nan)
        if policy.needs_stats:
            losses = self._maker.losses(rows) / self._n_targets[rows]
            self.counters.other_tokens += int(self._lengths[rows].sum())
        ids = [self.prepared.rows[row].id for row in rows]
        stats = BatchStats(ids, losses, self._n_targets[rows])
        rng = np.random.default_rng([self.config.seed, POLICY, self.step])
        kept = policy.keep(stats, policy.size(len(rows)), rng, self.counters.policy)
        chosen: Rows = rows[kept]
        return chosen

    def _after_step(self) -> None:
        watch, step = self.config.watch, self.step
        is_last = step == self.stream.n_steps
        if self.recorder.is_due(step):
            self.counters.other_tokens += self.recorder.record(step, self.model, self.processes)
        if self.evaluation and (is_last or (watch.eval_every and step % watch.eval_every == 0)):
            self._evaluate()
        claims = self.processes.add(np.array([self._interrupted, self._is_overdue], dtype=float))
        interrupted = bool(claims[0])
        due = bool(claims[1]) or (watch.save_every is not None and step % watch.save_every == 0)
        is_best = watch.patience is not None and self.counters.best_step == step
        if is_last or due or is_best or interrupted or self.counters.stopped_early:
            self._save()
        if interrupted and not is_last:
            raise InterruptedRunError(
                f"interrupted after step {step} of {self.stream.n_steps}; saved in "
                f"{self.folder.checkpoint(step)}; rerun the same command to resume"
            )

    def _evaluate(self) -> None:
        for name, rows in self.evaluation.items():
            evaluation = evaluate_fully(
                self.model, rows, self.processes, self.config, name, self.step
            )
            self.counters.other_tokens += int(rows.lengths.sum())
            self.evaluations.append(evaluation)
            figures = {
                f"{name}/{k}": v for k, v in evaluation.as_dict().items() if isinstance(v, float)
            }
            self._report(figures)
            self.progress.note(
                f"step {self.step}: {name} NLL {evaluation.mean_nll:.4f} nats a token"
            )
        self._watch_best(self.evaluations[-len(self.evaluation)].mean_nll)

    def _keys(self) -> dict[str, str]:
        return {name: evaluation_key(rows, self.config) for name, rows in self.evaluation.items()}

    def _watch_best(self, nll: float) -> None:
        counters = self.counters
        if counters.best_nll is None or nll < counters.best_nll:
            counters.best_nll, counters.best_step, counters.n_worse = nll, self.step, 0
            return
        counters.n_worse += 1
        patience = self.config.watch.patience
        counters.stopped_early = patience is not None and counters.n_worse >= patience

    def _report(self, figures: Mapping[str, float]) -> None:
        if self.config.watch.report_to != "none":
            self.processes.accelerator.log(dict(figures), step=self.step)

    @property
    def _is_overdue(self) -> bool:
        """Whether the last checkpoint is as old as one may be."""
        minutes = self.config.watch.save_minutes
        return minutes is not None and time.perf_counter() - self._saved >= 60 * minutes

    def _interrupt(self) -> None:
        self._interrupted = True

    def _clock(self) -> None:
        """Add the time and energy since the last call to the counters."""
        now, energy = time.perf_counter(), energy_j(self.processes.device)
        self.counters.seconds += now - self._began
        if energy is not None and self._energy is not None:
            self.counters.energy_j = (self.counters.energy_j or 0.0) + energy - self._energy
        self._began, self._energy = now, energy

    def _save(self) -> None:
        self._clock()
        if self.processes.is_main:
            history = np.array(self.history, dtype=np.float64).reshape(-1, len(HISTORY))
            evaluations = evaluation_tensors(self.evaluations)
            arrays = {
                "history": torch.from_numpy(history),
                **{_EVALUATION + key: value for key, value in evaluations.items()},
                **self.recorder.tensors(),
            }
            counters = {name: getattr(self.counters, name) for name in Counters.__slots__}
            checkpoint = Checkpoint(
                step=self.step,
                weights=self._parameters,
                optimiser=optimiser_tensors(self._optimiser, self._parameters),
                arrays=arrays,
                state={
                    "counters": counters,
                    "stream": self.stream.state(),
                    "evaluation": self._keys(),
                },
            )
            watches = self.config.watch.patience is not None
            best = self.counters.best_step if watches else None
            self.folder.save(checkpoint, keep=self.config.watch.keep, also=best)
        self.processes.wait()
        self._saved = time.perf_counter()

    def _resume(self) -> None:
        steps = self.folder.steps()
        if not steps:
            return
        checkpoint = self.folder.load(steps[-1])
        load_weights(self._parameters, checkpoint.weights, self.folder.checkpoint(checkpoint.step))
        restore_optimiser(self._optimiser, self._parameters, checkpoint.optimiser)
        self.step = checkpoint.step
        self.counters = Counters(**checkpoint.state["counters"])
        self.stream.restore(checkpoint.state["stream"])
        self.history = [tuple(row) for row in checkpoint.arrays["history"].tolist()]
        known = checkpoint.state["evaluation"]
        same = {n: r for n, r in self.evaluation.items() if known.get(n) == self._keys()[n]}
        evaluations = {
            key.removeprefix(_EVALUATION): value
            for key, value in checkpoint.arrays.items()
            if key.startswith(_EVALUATION)
        }
        self.evaluations = evaluations_from(evaluations, same)
        self.recorder.restore(dict(checkpoint.arrays))
        self.progress.note(f"resuming after step {self.step} of {self.stream.n_steps}")

    def _load_best(self, step: int) -> None:
        best = self.folder.load(step)
        load_weights(self._parameters, best.weights, self.folder.checkpoint(step))
        self.progress.note(f"kept the weights of step {step}, which had the lowest NLL")

    def _not_finite(self, rows: Rows, nll: np.ndarray, loss: float, norm: float) -> str:
        bad = rows[~np.isfinite(nll)]
        ids = [self.prepared.rows[row].id for row in (bad if len(bad) else rows)]
        what = f"loss is {loss}" if not is_finite(loss) else f"gradient norm is {norm}"
        which = "of" if len(bad) else "in the batch with"
        shown = ", ".join(ids[:_SHOWN])
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        steps = self.folder.steps()
        saved = (
            f"the last good checkpoint is {self.folder.checkpoint(steps[-1])}"
            if steps
            else ("no checkpoint was saved yet")
        )
        return (
            f"the {what} at step {self.step + 1}, {which} example {shown}{more}; {saved}; "
            "lower the learning rate, or look at these examples: curate explain ID"
        )


@contextmanager
def _on_signal(act: Callable[[], None]) -> Iterator[None]:
    """Call ``act`` on the first signal to stop; a second one ends the process as usual.

    SIGINT, SIGTERM, and SIGHUP unless it is ignored, as under nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in stopping}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        act()

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
