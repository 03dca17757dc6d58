"""Steps of our training loop, and of the loop people write, over the same rows."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch

from curate.contracts import Example
from curate.models.text.render import Rendered
from curate.train.config import OptimiserConfig
from curate.train.data import Prepared, TrainRow
from curate.train.model import TrainedModel
from curate.train.objectives.next_token import NextToken
from curate.train.processes import Processes
from curate.train.steps.fused_head import CUT, LIGER, OFF, fused_head
from curate.train.steps.optimiser import gradient_norm, make_optimiser
from curate.train.steps.step import GradientMaker
from jobs.bench.gpu.bench import Bench, Measurement
from jobs.bench.gpu.shapes import Shape, loaded, qwen2, random_causal, random_rows
from jobs.bench.gpu.trainers import trainer_step, ways
from jobs.bench.libraries import Way

LINE: Final = "training 1.5B"
MICRO_TOKENS: Final = 4_096
BATCH_ROWS: Final = 128
PLAIN_ROWS: Final = 8
FORMULA: Final = "3 x the operations of the forward pass"


def training(bench: Bench) -> Iterator[Measurement]:
    """Time optimiser steps on one batch: gradient, clipping, fused AdamW."""
    shape = bench.shape("1.5B")
    bench.models.clear()
    bench.free()
    model = random_causal(qwen2(shape), bench.device, "float32").train().requires_grad_(True)
    rows = random_rows(shape, 8 if bench.tiny else BATCH_ROWS)
    named = {name: one for name, one in model.named_parameters() if one.requires_grad}
    optimiser = make_optimiser(named, OptimiserConfig())

    def stepping(gradient: Callable[[], object]) -> Callable[[], None]:
        def step() -> None:
            gradient()
            gradient_norm(list(named.values()), 1.0)
            optimiser.step()

        return step

    yield _timed(
        bench, "our step, rows end to end", shape, rows,
        stepping(_ours(bench, model, rows, packed=True)),
    )  # fmt: skip
    for name in (CUT, LIGER):
        variant = f"our step, rows end to end, loss by {name}"
        step, why = _fused(bench, model, rows, name)
        if step is None:
            yield Measurement(LINE, variant, note=why)
        else:
            yield _timed(bench, variant, shape, rows, stepping(step))
    variant = f"our step, rows end to end, {4 * MICRO_TOKENS:,} tokens a pass"
    yield _timed(
        bench, variant, shape, rows,
        stepping(_ours(bench, model, rows, packed=True, tokens=4 * MICRO_TOKENS)),
    )  # fmt: skip
    variant = f"plain loop, padded batches of {PLAIN_ROWS}, full logits"
    yield _timed(bench, variant, shape, rows, stepping(_plain(bench, model, rows)))
    few = rows[: max(4, len(rows) // 4)]
    yield _timed(
        bench, "our step, padded", shape, few, stepping(_ours(bench, model, few, packed=False))
    )
    optimiser.state.clear()  # the libraries make their own
    for way, why in ways():
        if why:
            yield Measurement(LINE, way.words, note=why)
        else:
            yield _of_library(bench, model, shape, rows, way)


def _of_library(
    bench: Bench, model: Any, shape: Shape, rows: Sequence[Rendered], way: Way
) -> Measurement:
    bench.free()
    try:
        seconds, memory = trainer_step(bench, model, rows, way)
    except RuntimeError as error:
        return Measurement(LINE, way.words, error=f"{type(error).__name__}: {error}"[:600])
    return _measured(bench, way.words, shape, rows, seconds, memory)


def _timed(
    bench: Bench, variant: str, shape: Shape, rows: Sequence[Rendered], step: Callable[[], None]
) -> Measurement:
    try:
        step()
        step()
        seconds, memory = bench.seconds(step, repeats=3)
    except RuntimeError as error:
        return Measurement(LINE, variant, error=f"{type(error).__name__}: {error}"[:600])
    return _measured(bench, variant, shape, rows, seconds, memory)


def _measured(
    bench: Bench,
    variant: str,
    shape: Shape,
    rows: Sequence[Rendered],
    seconds: float,
    memory: float,
) -> Measurement:
    tokens = sum(len(row.ids) for row in rows)
    values = {
        "tokens/s": tokens / seconds, "rows/s": len(rows) / seconds,
        "share of peak": bench.share(3 * shape.flops(rows), seconds), "seconds": seconds,
        "peak GiB": memory,
    }  # fmt: skip
    note = f"one step of {len(rows)} rows, {tokens} tokens, float32 weights, bfloat16 autocast; {FORMULA}"
    return Measurement(LINE, variant, values, note)


def _fused(
    bench: Bench, model: Any, rows: Sequence[Rendered], name: str
) -> tuple[Callable[[], object] | None, str]:
    """Return a step whose loss is computed by a library, or why there is none."""
    said: list[str] = []
    step = _ours(bench, model, rows, packed=True, fused=name, say=said.append)
    if said:
        return None, said[0]
    step()  # compares the loss with that from logits
    return (None, said[0]) if "off:" in said[0] else (step, said[0])


def _ours(
    bench: Bench,
    model: Any,
    rows: Sequence[Rendered],
    *,
    packed: bool,
    tokens: int = MICRO_TOKENS,
    fused: str = OFF,
    say: Callable[[str], None] = lambda text: None,
) -> Callable[[], object]:
    parts = loaded(model, bench.device, "float32")
    device = torch.device(bench.device)
    head = type(parts.head)(model.get_output_embeddings().weight)
    nothing: Any = None
    trained = TrainedModel(
        parts.resolved, model, parts.backbone, head, nothing, "bfloat16", device, packed=packed
    )
    examples = [TrainRow(f"{n:032x}", Example(f"{n:032x}", ())) for n in range(len(rows))]
    prepared = Prepared(examples, rows)
    processes = Processes.join(bench.device)
    kernel, why = fused_head(fused, trained)
    if why and fused != OFF:
        say(why)
    maker = GradientMaker(trained, prepared, NextToken(), processes, tokens, 0, kernel, say)
    places = np.arange(len(rows))
    return lambda: maker.gradient(places, 0)


def _plain(bench: Bench, model: Any, rows: Sequence[Rendered]) -> Callable[[], object]:
    def gradient() -> None:
        model.zero_grad()
        n_batches = len(rows) // PLAIN_ROWS
        for start in range(0, len(rows), PLAIN_ROWS):
            ids, mask, labels = _padded(rows[start : start + PLAIN_ROWS], bench.device)
            with torch.autocast(torch.device(bench.device).type, torch.bfloat16):
                output = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False)
            (output.loss / n_batches).backward()

    return gradient


def _padded(rows: Sequence[Rendered], device: str) -> tuple[torch.Tensor, ...]:
    width = max(len(row.ids) for row in rows) + 1
    ids, mask, labels = (np.full((len(rows), width), fill, dtype=np.int64) for fill in (0, 0, -100))
    for number, row in enumerate(rows):
        n = len(row.ids)
        ids[number, :n], ids[number, n] = row.ids, row.targets[-1]
        mask[number, : n + 1] = 1
        labels[number, row.positions + 1] = row.targets
    return tuple(torch.from_numpy(one).to(device) for one in (ids, mask, labels))
