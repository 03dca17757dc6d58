"""AdamW over the trained parameters: decay groups, clipping, and its state by parameter name."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from curate.train.config import OptimiserConfig
from curate.train.eight_bit import eight_bit_adamw


def make_optimiser(
    parameters: Mapping[str, nn.Parameter], config: OptimiserConfig
) -> torch.optim.Optimizer:
    """Make AdamW, its moments in eight bits if asked; weight decay only on matrices, not on biases and norms."""
    decayed = [p for p in parameters.values() if p.ndim >= 2]
    plain = [p for p in parameters.values() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.eight_bit:
        made: torch.optim.Optimizer = eight_bit_adamw(
            groups, lr=config.lr, betas=config.betas, eps=config.eps
        )
        return made
    return torch.optim.AdamW(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=all(p.is_cuda for p in parameters.values()),
    )


def moment_bytes(parameters: Mapping[str, nn.Parameter], config: OptimiserConfig) -> int:
    """Return the bytes that an optimiser will keep after its first step."""
    return sum(
        2 * p.numel() * (1 if config.eight_bit else p.element_size()) for p in parameters.values()
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def gradient_norm(parameters: Sequence[nn.Parameter], clip: float | None) -> float:
    """Return the global L2 norm of the gradient, and scale it down to ``clip`` if it is larger."""
    return float(nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip))


def optimiser_tensors(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return the optimiser's state as tensors by ``name:slot``."""
    return {
        f"{name}:{slot}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in parameters.items()
        for slot, value in optimiser.state[parameter].items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Restore what `optimiser_tensors` returned."""
    counts = not isinstance(optimiser, torch.optim.AdamW)  # bitsandbytes counts steps on the host
    for key, value in tensors.items():
        name, _, slot = key.rpartition(":")
        if slot == "step" and counts:
            optimiser.state[parameters[name]][slot] = int(value)
            continue
        device = (
            "cpu" if slot == "step" and not parameters[name].is_cuda else parameters[name].device
        )
        optimiser.state[parameters[name]][slot] = value.to(device)
