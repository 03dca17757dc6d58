"""What a training run needs of the machine, checked before anything is loaded."""

from typing import TYPE_CHECKING

from curate.train.eight_bit import check_eight_bit
from curate.train.room import check_training_room
from curate.train.steps.fused_head import check_fused

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel
    from curate.train.config import TrainConfig


def check_run(config: "TrainConfig", resolved: "ResolvedModel") -> None:
    """Raise an error for packages, a device or memory that a resolved configuration lacks."""
    check_fused(config.compute.fused_loss, config.compute.device)
    if config.optimiser.eight_bit:
        check_eight_bit(config.compute.device)
    check_training_room(resolved, config)
