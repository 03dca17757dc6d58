"""A model on its cards: they are the process's own, and the weights must fit on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from curate.contracts.display import counted
from curate.errors import ConfigError, DeviceError
from curate.models.files import count_parameters

DTYPE_BYTES: Final[Mapping[str, int]] = {"float32": 4, "bfloat16": 2, "float64": 8}
GIB: Final = 2**30
_HAS_BFLOAT16: Final = (8, 0)  # compute capability; older cards go by way of float32


def cards_of(device: str) -> tuple[str, ...]:
    """Return the devices that a worker's device stands for: of ``cuda:2,3`` those are two."""
    kind, colon, numbers = device.partition(":")
    return tuple(f"{kind}{colon}{number}" for number in numbers.split(","))


def name_of(cards: Sequence[str]) -> str:
    """Return one name for several numbered cards, such as ``cuda:2,3``; see `cards_of`."""
    kind, colon, _ = cards[0].partition(":")
    return f"{kind}{colon}" + ",".join(card.partition(":")[2] for card in cards)


def use_device(device: str) -> None:
    """Make a numbered GPU, the first of several, the current one of this process.

    So nothing of it lies on one that is another's.
    """
    if device.startswith("cuda:"):
        import torch

        torch.cuda.set_device(torch.device(cards_of(device)[0]))


def check_number(device: str) -> None:
    """Raise `ConfigError` for the number of a GPU that is not here."""
    number = device.partition(":")[2]
    if not number:
        return
    import torch

    there = torch.cuda.device_count()
    if int(number) >= there:
        names = ", ".join(f"cuda:{n}" for n in range(there))
        raise ConfigError(
            f"device {device!r} was requested, but torch finds {counted(there, 'GPU')} here: {names}; pass "
            "one of these, or cuda for all"
        )


def card_has_bfloat16(device: str) -> bool:
    """Return whether a GPU multiplies in bfloat16 itself: torch says so too of those that emulate it."""
    import torch

    return torch.cuda.get_device_capability(torch.device(cards_of(device)[0])) >= _HAS_BFLOAT16


def card_bytes(device: str) -> tuple[str, int]:
    """Return the name and the memory of a GPU."""
    import torch

    found = torch.cuda.get_device_properties(torch.device(device))
    return str(found.name), int(found.total_memory)


def lack_of_room(n_bytes: int, device: str) -> str | None:
    """Say how much weights take and a GPU has, if they do not fit; None if they do, and on a CPU."""
    if not device.startswith("cuda"):
        return None
    card, has = card_bytes(device)
    if n_bytes <= has:
        return None
    return f"{n_bytes / GIB:.1f} GiB, but {card} has {has / GIB:.1f}"


def check_room(name: str, folder: str, dtype: str, device: str) -> None:
    """Raise `DeviceError` for a model whose weights do not fit on its GPU, before they are read."""
    if not device.startswith("cuda"):
        return
    lacking = lack_of_room(count_parameters(Path(folder)) * DTYPE_BYTES[dtype], device)
    if lacking is not None:
        import torch

        smaller = "" if dtype == "bfloat16" else "--dtype bfloat16, "
        others = (
            "a model runs on one card"
            if torch.cuda.device_count() == 1
            else "only for scorers of a forward pass, with --device cuda, does a model lie on several"
        )
        raise DeviceError(
            f"the weights of model {name!r} in {dtype} take {lacking}; give {smaller}a smaller model, or a "
            f"card with more memory: {others}"
        )
