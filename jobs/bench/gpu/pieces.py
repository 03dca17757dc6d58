"""Lines about one piece: does the GPU agree with the CPU, the head, rendering, the profile."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from curate.models.passes import head_kernel
from curate.models.passes.forward import Forward, Measured, PassRequest
from curate.models.passes.head import HeadWants, head_stats
from curate.models.passes.packing import packing_flaw
from jobs.bench.gpu.bench import Bench, Measurement
from jobs.bench.gpu.shapes import TINY, loaded, qwen2, random_causal, random_rows
from jobs.bench.gpu.ways import LIKELIHOOD, WITH_DONOD, our_pass

HEAD_ROWS: Final = 16_384
PROFILE_TOKENS: Final = 32_768
KERNELS: Final = 15


def agreement(bench: Bench) -> Iterator[Measurement]:
    """Compare every statistic of a small random model on this device with the CPU's."""
    wants = PassRequest.of(WITH_DONOD)
    rows = random_rows(TINY, 24)
    wanted = _measured("cpu", "float32", rows, wants, packed=False)
    cases = [("float32", False), ("float32", True), ("bfloat16", False), ("bfloat16", True)]
    for dtype, packed in cases:
        found = _measured(bench.device, dtype, rows, wants, packed=packed)
        values = {
            name: max(
                float(np.abs(_of(a, name) - _of(b, name)).max())
                for a, b in zip(wanted, found, strict=True)
            )
            for name in ("nll", "entropy", "mean nll", "head norm", "hidden")
        }
        variant = f"{dtype}, {'packed' if packed else 'padded'}"
        note = "largest absolute difference from float32 on the CPU; head norm: relative"
        yield Measurement("agreement", variant, values, note)


def _measured(
    device: str, dtype: str, rows: Any, wants: PassRequest, *, packed: bool
) -> list[Measured]:
    weights = random_causal(qwen2(TINY), "cpu", "float32").to(getattr(torch, dtype)).to(device)
    forward = Forward(loaded(weights, device, dtype), packed)
    found = [one for _, one in forward.run(rows, wants)]
    return [one for one in found if one is not None]


def _of(measured: Measured, name: str) -> Any:
    if name == "nll":
        return measured.nll
    if name == "mean nll":
        return measured.nll.mean()
    if name == "entropy":
        return measured.entropy
    if name == "head norm":
        return np.log(measured.sq_norm[True])
    return next(iter(measured.pooled.values()))


def head_alone(bench: Bench) -> Iterator[Measurement]:
    """Run the head by itself, by chunk size, in each of its forms."""
    name = "1.5B"
    shape = bench.shape(name)
    _, model = bench.model(name)
    n = 64 if bench.tiny else HEAD_ROWS
    hidden = torch.randn(n, shape.hidden, device=bench.device, dtype=model.head.weight.dtype)
    targets = torch.randint(0, shape.vocabulary, (n,), device=bench.device)
    flops = 2.0 * n * shape.hidden * shape.vocabulary

    def entry(variant: str, run: Any) -> Measurement:
        try:
            with torch.inference_mode():
                run()
                seconds, memory = bench.seconds(run)
        except (RuntimeError, TypeError, ValueError) as error:
            return Measurement("head 1.5B", variant, error=f"{type(error).__name__}: {error}"[:600])
        values = {
            "positions/s": n / seconds, "share of peak": bench.share(flops, seconds),
            "seconds": seconds, "peak GiB": memory,
        }  # fmt: skip
        return Measurement("head 1.5B", variant, values, f"{n} positions")

    def chunks(rows: int, after: Any) -> Any:
        def run() -> None:
            for h, y in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
                after(torch.nn.functional.linear(h, model.head.weight), y)

        return run

    for rows in (512, 1024, 2048, 4096):
        yield entry(f"product alone, chunks of {rows}", chunks(rows, lambda raw, y: None))
        if bench.is_cuda and head_kernel.available():
            yield entry(
                f"one-read kernel, chunks of {rows}", chunks(rows, head_kernel.row_statistics)
            )
        if bench.is_cuda and rows == 2048:
            compiled = torch.compile(_plain_statistics, dynamic=False)
            yield entry(f"compiled, chunks of {rows}", chunks(rows, compiled))
    whole = torch.zeros(n, dtype=torch.bool, device=bench.device)
    yield entry(
        f"by chunks of {model.head.chunk_rows}",
        lambda: head_stats(model.head, hidden, targets, [whole], HeadWants(entropy=True)),
    )


def _plain_statistics(
    raw: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = raw.float()
    shifted = logits - logits.amax(dim=1, keepdim=True)
    exps = shifted.exp()
    total = exps.sum(dim=1)
    aim = shifted.gather(1, targets[:, None]).squeeze(1)
    return total.log() - aim, total.log() - (exps * shifted).sum(dim=1) / total


def profile(bench: Bench) -> Iterator[Measurement]:
    """Write which kernels the time of our pass goes to."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    name = "1.5B"
    shape = bench.shape(name)
    _, model = bench.model(name)
    rows = random_rows(shape, min(512, shape.n_rows))
    packed = packing_flaw(model) is None
    run = our_pass(model, rows, LIKELIHOOD, PROFILE_TOKENS, packed=packed)
    run()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.is_cuda else [])
    with profiled(activities=activities) as recorded:
        run()
        bench.wait()
    key = "self_cuda_time_total" if bench.is_cuda else "self_cpu_time_total"
    averages = recorded.key_averages()
    path = bench.out / "gpu-profile.txt"
    by_device = averages.table(sort_by=key, row_limit=KERNELS, max_name_column_width=80)
    by_host = averages.table(
        sort_by="self_cpu_time_total", row_limit=KERNELS, max_name_column_width=60
    )
    path.write_text(
        f"likelihood + entropy, {len(rows)} rows\n{by_device}\n{by_host}\n", encoding="utf-8"
    )
    attribute = "self_device_time_total" if bench.is_cuda else "self_cpu_time_total"
    top = sorted(averages, key=lambda one: -getattr(one, attribute))[:KERNELS]
    values = {one.key[:80]: getattr(one, attribute) / 1e3 for one in top}
    yield Measurement("profile 1.5B", "ms by kernel", values, f"{len(rows)} rows; {path.name}")


def overlap(bench: Bench) -> Iterator[Measurement]:
    """Run a shard of texts through a worker's pass, rendered in the background and beforehand."""
    from jobs.bench.gpu.shards import run_shard

    _, model = bench.model("0.5B")
    with tempfile.TemporaryDirectory() as folder:
        n = 40 if bench.tiny else 4_096
        for ahead in (True, False):
            rows, tokens, seconds, read_s = run_shard(Path(folder), bench, model, n, ahead=ahead)
            words = "in the background" if ahead else "before the shard runs"
            values = {
                "tokens/s": tokens / seconds, "rows/s": rows / seconds, "seconds": seconds,
                "rendering alone, seconds": read_s,
            }  # fmt: skip
            yield Measurement("rendering 0.5B", words, values, f"{rows} rows of text, one shard")
