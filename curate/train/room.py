"""What a training run keeps in memory whatever its batches: said in the plan, and refused where it cannot fit."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from curate.errors import DeviceError
from curate.models.room import DTYPE_BYTES, GIB, lack_of_room

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel
    from curate.train.config import TrainConfig


@final
@dataclass(frozen=True, slots=True)
class TrainingRoom:
    """Bytes that stay for a whole run; activations, which ``--micro-tokens`` bounds, come on top.

    Parameters
    ----------
    weights
        Of the model, frozen ones included.
    gradients, moments
        Of the trained weights, and what the optimiser keeps of them. An adapter's are not counted.
    """

    weights: int
    gradients: int
    moments: int

    @classmethod
    def of(cls, n_parameters: int, config: "TrainConfig") -> "TrainingRoom":
        """Return what a resolved configuration takes for a model of some parameters."""
        dtype = config.compute.dtype
        if config.method.lora is not None:
            return cls(n_parameters * DTYPE_BYTES[dtype], 0, 0)
        each = n_parameters * DTYPE_BYTES["float32" if dtype == "bfloat16" else dtype]
        moments = 2 * n_parameters if config.optimiser.eight_bit else 2 * each
        return cls(each, each, moments)

    @property
    def total(self) -> int:
        """Bytes of all together."""
        return self.weights + self.gradients + self.moments

    def __str__(self) -> str:
        """Return the parts in GiB."""
        parts = {"weights": self.weights, "gradients": self.gradients, "optimiser": self.moments}
        return ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items() if size)


def check_training_room(resolved: "ResolvedModel", config: "TrainConfig") -> None:
    """Raise `DeviceError` for a run that cannot fit on its GPU, before anything is loaded."""
    if resolved.n_parameters is None:
        return
    room = TrainingRoom.of(resolved.n_parameters, config)
    lacking = lack_of_room(room.total, config.compute.device)
    if lacking is None:
        return
    ways = ["a smaller model"]
    if config.method.lora is None:
        if not config.optimiser.eight_bit:
            ways.insert(0, "--set optimiser.eight_bit=true")
        ways.insert(0, "--lora")
    raise DeviceError(
        f"training {resolved.name!r} takes {lacking} ({room}, in GiB, and activations on top); try "
        f"{', '.join(ways)}, or a card with more memory: a model is trained on one card"
    )
