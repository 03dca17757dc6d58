"""Train the demo's model: next-token loss on the response, a few hundred lines of text a step."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence

from curate.contracts.progress import Progress
from curate.demo.summary import TRAINING

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

IGNORED: Final = -100  # the label of a position without loss
_BATCHES_PER_SORT: Final = 16

Line = tuple[list[int], list[bool]]  # token ids, and which of them the loss counts


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train.

    Parameters
    ----------
    n_steps, batch_lines
        Updates, and lines of text per update.
    peak_rate
        Learning rate after the warm-up; it falls to nothing along a line.
    """

    n_steps: int = 550
    batch_lines: int = 32
    peak_rate: float = 2e-3
    warmup_steps: int = 50

    def rate(self, step: int) -> float:
        """Return the learning rate of one step, counted from 0."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return self.peak_rate * warm * (1.0 - step / self.n_steps)


def train(
    model: "LlamaForCausalLM",
    lines: Callable[[int], Sequence[Line]],
    schedule: Schedule,
    rng: random.Random,
    progress: Progress,
) -> None:
    """Train a model in place on CPU; ``lines(n)`` gives n fresh lines of text.

    The language-model head runs only where the loss counts.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.peak_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    model.train()
    progress.start(TRAINING, schedule.n_steps, "steps")
    for step, (ids, labels) in enumerate(_batches(lines, schedule, rng)):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        counted = labels[:, 1:] != IGNORED
        loss = cross_entropy(model.lm_head(hidden[counted]), labels[:, 1:][counted])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress.advance(TRAINING, 1)
    model.eval()  # type: ignore[no-untyped-call]
    progress.finish(TRAINING)


def _batches(
    lines: Callable[[int], Sequence[Line]], schedule: Schedule, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield right-padded ids and labels, (lines, tokens); lines of similar length share a batch."""
    left, size = schedule.n_steps, schedule.batch_lines
    while left > 0:
        n_batches = min(left, _BATCHES_PER_SORT)
        drawn = sorted(lines(n_batches * size), key=lambda line: len(line[0]))
        batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
        rng.shuffle(batches)
        yield from map(_collate, batches)
        left -= n_batches


def _collate(batch: Sequence[Line]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = [torch.tensor(line) for line, _ in batch]
    labels = [
        line.masked_fill(~torch.tensor(counts), IGNORED)
        for line, (_, counts) in zip(ids, batch, strict=True)
    ]
    return (
        pad_sequence(ids, batch_first=True, padding_value=0),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    )
