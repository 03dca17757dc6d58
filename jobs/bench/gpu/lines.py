"""The lines of the GPU bench, the most telling first: each measures a few variants of one thing."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from curate.contracts import ForwardScorer
from curate.models.passes import head_kernel
from curate.models.passes.packing import packing_flaw
from curate.models.text.render import Rendered
from jobs.bench.gpu.bench import Bench, Measurement
from jobs.bench.gpu.engines import against_vllm
from jobs.bench.gpu.pieces import agreement, head_alone, overlap, profile
from jobs.bench.gpu.prefixes import shared_prefixes
from jobs.bench.gpu.shapes import Shape, random_rows
from jobs.bench.gpu.training import training
from jobs.bench.gpu.ways import (
    LIKELIHOOD,
    WITH_DONOD,
    WITH_EMBEDDING,
    backbone_alone,
    bare,
    our_pass,
    script,
)

TOKENS: Final = 32_768  # of a batch, unless a line is about them


def peak(bench: Bench) -> Iterator[Measurement]:
    """Measure the two ceilings: a large matrix product, and a copy within the device's memory."""
    n = 256 if bench.tiny else 8192
    a = torch.randn(n, n, device=bench.device, dtype=torch.bfloat16)
    b = torch.randn(n, n, device=bench.device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ b
    seconds, _ = bench.seconds(lambda: [a @ b for _ in range(10)], repeats=5)
    bench.peak = 10 * 2 * n**3 / seconds
    note = f"{n}^3 in bfloat16 on random values, ten products, median of five"
    yield Measurement("peak", "matrix product", {"TFLOP/s": bench.peak / 1e12}, note)
    size = 2**20 if bench.tiny else 2**32
    source = torch.empty(size, dtype=torch.uint8, device=bench.device).random_()
    target = torch.empty_like(source)
    target.copy_(source)
    seconds, _ = bench.seconds(lambda: target.copy_(source), repeats=5)
    yield Measurement("peak", "copy", {"TB/s": 2 * size / seconds / 1e12}, "bytes read and written")


def _pass_line(bench: Bench, name: str) -> Iterator[Measurement]:
    """Compare our pass with what people run, on one shape."""
    shape = bench.shape(name)
    whole, model = bench.model(name)
    rows = random_rows(shape, shape.n_rows)
    flaw = packing_flaw(model)
    packed = flaw is None
    if flaw is not None:
        yield Measurement(f"pass {name}", "packing", {}, f"padded instead: {flaw}")
    line = f"pass {name}"
    yield _ours(bench, line, "likelihood + entropy", shape, rows, LIKELIHOOD, packed=packed)
    for size in (8, 4):
        few = rows[: max(8, len(rows) * size // 64)]
        words = f"script, padded batches of {size}"
        yield _timed(bench, line, words, shape, few, script(whole, few, size, bench.device))
    yield _timed(
        bench, line, "bare model() over our padded batches of 8,192 tokens", shape, rows[: len(rows) // 2],
        bare(whole, rows[: len(rows) // 2], 8_192, bench.device),
    )  # fmt: skip
    yield _timed(
        bench, line, "layers alone, no head", shape, rows,
        backbone_alone(model, rows, TOKENS, packed=packed),
        headless=True,
    )  # fmt: skip
    yield _ours(bench, line, "+ embedding", shape, rows, WITH_EMBEDDING, packed=packed)
    yield _ours(
        bench, line, "+ embedding + DONOD", shape, rows[: len(rows) // 2], WITH_DONOD, packed=packed
    )
    fewest = rows[: max(4, len(rows) // 32)]
    yield _timed(
        bench,
        line,
        "script, one row at a time",
        shape,
        fewest,
        script(whole, fewest, 1, bench.device),
    )


def _choices(bench: Bench) -> Iterator[Measurement]:
    """Turn each choice of our pass on and off."""
    name = "1.5B"
    shape = bench.shape(name)
    _, model = bench.model(name)
    rows = random_rows(shape, shape.n_rows)
    can_pack = packing_flaw(model) is None
    for packed in (True, False) if can_pack else (False,):
        for fused in (True, False):
            if fused and not (bench.is_cuda and head_kernel.available()):
                continue
            words = f"{'packed' if packed else 'padded'}, {'one-read kernel' if fused else 'head by chunks'}"
            yield _ours(
                bench, "choices 1.5B", words, shape, rows, LIKELIHOOD, packed=packed, fused=fused
            )
    for tokens in (4_096, 8_192, 16_384, 65_536, 131_072):
        words = f"batches of {tokens:,} tokens"
        yield _ours(
            bench, "choices 1.5B", words, shape, rows, LIKELIHOOD, packed=can_pack, tokens=tokens
        )


def _donod(bench: Bench) -> Iterator[Measurement]:
    """Add DONOD at responses of about 100 tokens, in its forms."""
    name = "1.5B"
    shape = bench.shape(name)
    _, model = bench.model(name)
    rows = random_rows(shape, max(8, shape.n_rows // 4), median=200, spread=0.3)
    packed = packing_flaw(model) is None
    line = "donod 1.5B"
    yield _ours(bench, line, "likelihood + embedding", shape, rows, WITH_EMBEDDING, packed=packed)
    yield _ours(bench, line, "with DONOD", shape, rows, WITH_DONOD, packed=packed)
    yield _ours(
        bench, line, "with DONOD, example by example", shape, rows, WITH_DONOD,
        packed=packed, fused=False,
    )  # fmt: skip


def _ours(
    bench: Bench,
    line: str,
    variant: str,
    shape: Shape,
    rows: Sequence[Rendered],
    scorers: tuple[ForwardScorer, ...],
    *,
    packed: bool,
    fused: bool = True,
    tokens: int = TOKENS,
) -> Measurement:
    model = next(iter(bench.models.values()))[1]
    run = our_pass(model, rows, scorers, tokens, packed=packed, fused=fused)
    return _timed(bench, line, f"ours: {variant}", shape, rows, run)


def _timed(
    bench: Bench,
    line: str,
    variant: str,
    shape: Shape,
    rows: Sequence[Rendered],
    run: Callable[[], Any],
    *,
    headless: bool = False,
) -> Measurement:
    """Time one variant after a first run that is not counted; a failure is a result of its own."""
    try:
        bench.free()
        run()
        seconds, memory = bench.seconds(run)
    except (RuntimeError, MemoryError, ValueError, TypeError) as error:
        return Measurement(line, variant, error=f"{type(error).__name__}: {error}"[:600])
    tokens = sum(len(row.ids) for row in rows)
    flops = shape.flops(rows)
    if headless:
        flops -= 2 * shape.vocabulary * shape.hidden * sum(len(row.targets) for row in rows)
    values = {
        "tokens/s": tokens / seconds,
        "rows/s": len(rows) / seconds,
        "share of peak": bench.share(flops, seconds),
        "seconds": seconds,
        "peak GiB": memory,
    }
    return Measurement(line, variant, values, f"{len(rows)} rows, {tokens} tokens")


def _half_billion(bench: Bench) -> Iterator[Measurement]:
    return _pass_line(bench, "0.5B")


def _one_and_a_half(bench: Bench) -> Iterator[Measurement]:
    return _pass_line(bench, "1.5B")


def _seven(bench: Bench) -> Iterator[Measurement]:
    return _pass_line(bench, "7B")


LINES: Final[Mapping[str, Callable[[Bench], Iterator[Measurement]]]] = {
    "peak": peak,
    "pass-1.5b": _one_and_a_half,
    "donod": _donod,
    "prefixes": shared_prefixes,
    "profile": profile,
    "agreement": agreement,
    "pass-0.5b": _half_billion,
    "overlap": overlap,
    "pass-7b": _seven,
    "training": training,
    "head": head_alone,
    "choices": _choices,
    "vllm": against_vllm,
}
LIMITS: Final[Mapping[str, float]] = {
    "peak": 30, "agreement": 30, "pass-1.5b": 75, "choices": 60, "head": 30, "profile": 25,
    "pass-7b": 75, "pass-0.5b": 60, "overlap": 45, "donod": 30, "training": 75,
    "prefixes": 30, "vllm": 150,
}  # fmt: skip


def measure(
    bench: Bench, names: Sequence[str], ends: float, done: Callable[[Measurement], None]
) -> None:
    """Run lines in order until the time is over; a line that fails is recorded and passed by."""
    from jobs.bench.gpu.bench import LineTimeoutError, at_most

    for name in names:
        left = ends - time.monotonic()
        if left < 1:
            done(Measurement(name, "-", error="not measured: the time was over"))
            continue
        try:
            with at_most(min(LIMITS[name], left)):
                for one in LINES[name](bench):
                    done(one)
        except LineTimeoutError as error:
            done(Measurement(name, "-", error=f"the rest is not measured: {error}"))
        except Exception as error:  # noqa: BLE001 - a line is an experiment; the others still run
            done(Measurement(name, "-", error=f"{type(error).__name__}: {error}"[:1500]))
        bench.free()
