"""The processes of a run, through accelerate: rank, sums over processes, and who writes."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from curate.errors import MissingPackageError

if TYPE_CHECKING:
    from accelerate import Accelerator

BUCKET_ELEMENTS: Final = 33_554_432
_TRACKER_PACKAGES: Final = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Processes:
    """The processes that train together; one unless started by torchrun or accelerate launch.

    Gradients are added up once a step by `add_gradients`, without a wrapper around the model: a
    step is then the sum over all its rows, however they are dealt.
    """

    accelerator: "Accelerator"
    device: torch.device

    @classmethod
    def join(cls, device: str, report_to: str = "none", folder: str | None = None) -> "Processes":
        """Join the processes of this run; raise `MissingPackageError` for a tracker without its package."""
        from accelerate import Accelerator

        settings: dict[str, Any] = {}
        if report_to != "none":
            _check_tracker(report_to)
            settings = {"log_with": report_to, "project_dir": folder}
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        if several and device == "cpu":
            settings["cpu"] = True
        accelerator = Accelerator(**settings)
        chosen = accelerator.device if accelerator.num_processes > 1 else torch.device(device)
        return cls(accelerator, chosen)

    @property
    def count(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def index(self) -> int:
        """Number of this process, from 0."""
        return int(self.accelerator.process_index)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports to the user."""
        return bool(self.accelerator.is_main_process)

    def wait(self) -> None:
        """Wait for all processes."""
        self.accelerator.wait_for_everyone()

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; a missing one counts as 0."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.count == 1:
            return
        for bucket in _buckets(parameters):
            flat = torch.cat([p.grad.reshape(-1) for p in bucket if p.grad is not None])
            summed: Any = self.accelerator.reduce(flat, reduction="sum")
            pieces = summed.split([p.numel() for p in bucket])
            for parameter, piece in zip(bucket, pieces, strict=True):
                parameter.grad = piece.view_as(parameter)

    def add(self, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the sum of a float64 array over the processes; exact where all but one hold 0."""
        if self.count == 1:
            return values
        total: Any = self.accelerator.reduce(torch.from_numpy(values).to(self.device), "sum")
        summed: np.ndarray = total.cpu().numpy()
        return summed

    def any(self, claim: bool) -> bool:
        """Return whether the claim holds in any process."""
        return bool(self.add(np.array([float(claim)]))[0] > 0)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        changes_dtype = bool(bucket) and bucket[0].dtype != parameter.dtype
        if bucket and (changes_dtype or size + parameter.numel() > BUCKET_ELEMENTS):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket


def _check_tracker(name: str) -> None:
    packages = _TRACKER_PACKAGES[name]
    if not any(find_spec(package) for package in packages):
        raise MissingPackageError(
            f"reporting to {name} needs the package {packages[0]}; type: pip install {packages[0]}"
        )


@contextmanager
def reproducible(device: torch.device, threads: int | None) -> Iterator[int]:
    """Fix the threads and, on the CPU, allow only deterministic algorithms; yield the threads.

    Earlier settings are restored afterwards.
    """
    before = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


@contextmanager
def seeded(device: torch.device, *words: int) -> Iterator[None]:
    """Make torch's random numbers a function of some whole numbers inside the block only.

    So nothing random needs to be saved, and no state leaks to the caller.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))
        yield


def is_finite(*values: float | Tensor) -> bool:
    """Return whether all numbers are finite."""
    return all(math.isfinite(float(value)) for value in values)
