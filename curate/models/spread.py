"""A model over several cards of one worker: which card holds which of its layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.errors import DeviceError, ModelError
from curate.models.adapters import merge_adapter
from curate.models.files import count_parameters
from curate.models.pretrained import read_causal
from curate.models.room import DTYPE_BYTES, GIB, card_bytes, use_device

if TYPE_CHECKING:
    from torch import nn

SPARE: Final = 0.1  # of a card, never given to weights
BATCH: Final = 2 * GIB  # beside it: torch's own, chunks of logits, what a layer makes of a batch


@final
@dataclass(frozen=True, slots=True)
class _Block:
    """A module that lies on one card whole: its name, its bytes, and the block it shares weights with."""

    name: str
    n_bytes: int
    with_block: str | None = None


def weight_room(card: str) -> int:
    """Return the bytes that weights may take on a card so that a batch runs beside them."""
    return max(0, int((1 - SPARE) * card_bytes(card)[1]) - BATCH)


def weight_bytes(folder: str, dtype: str) -> int:
    """Return what the stored weights of a folder take in a dtype."""
    return count_parameters(Path(folder)) * DTYPE_BYTES[dtype]


def cards_needed(folder: str, dtype: str, cards: Sequence[str]) -> int | None:
    """Return over how few of some cards the weights lie with room for a batch; None if over none.

    As many as `layout` finds: layers are not cut, so it can take one more than their sum. Cards are
    taken for as large as the smallest.
    """
    n_bytes, room = weight_bytes(folder, dtype), min(map(weight_room, cards))
    if n_bytes <= room:
        return 1
    least = -(-n_bytes // room) if room else len(cards) + 1
    rooms = (room,) * len(cards)
    return next(
        (n for n in range(least, len(cards) + 1) if _layout(folder, dtype, rooms[:n])), None
    )


def layout(name: str, folder: str, dtype: str, cards: Sequence[str]) -> dict[str, str]:
    """Return which card holds each module of a causal language model, by the module's name.

    Layers stay whole and in order, and the fullest card is as empty as that allows. What shares its
    weight with another module lies with it, and what has none lies on the first card.

    Raises
    ------
    DeviceError
        It does not fit; says what would.
    ModelError
        The model does not say which of its layers must stay whole.
    """
    found = _layout(folder, dtype, tuple(map(weight_room, cards)))
    if found is None:
        raise DeviceError(refusal(name, folder, dtype, cards))
    return {module: cards[number] for module, number in found.items()}


def lack_over(n_bytes: int, cards: Sequence[str]) -> str:
    """Say how much weights take, and how much several cards hold of them."""
    rooms = sum(map(weight_room, cards))
    name, _ = card_bytes(cards[0])
    return (
        f"{n_bytes / GIB:.1f} GiB, but {len(cards)} x {name} hold {rooms / GIB:.1f} beside a batch"
    )


def refusal(name: str, folder: str, dtype: str, cards: Sequence[str]) -> str:
    """Say of a model that it does not fit on several cards, and what would."""
    n_bytes = weight_bytes(folder, dtype)
    half = n_bytes // DTYPE_BYTES[dtype] * DTYPE_BYTES["bfloat16"]
    fits = half < n_bytes and cards_needed(folder, "bfloat16", cards) is not None
    smaller = f"--dtype bfloat16 ({half / GIB:.1f} GiB), " if fits else ""
    return (
        f"the weights of model {name!r} in {dtype} take {lack_over(n_bytes, cards)}; give {smaller}a "
        "smaller model, or more GPUs: layers are never left on the CPU or the disk"
    )


def load_spread(
    name: str, folder: str, adapter: str | None, cards: Sequence[str], dtype: str
) -> Any:
    """Load a causal language model as `load_causal` does, its layers dealt to several cards.

    What a layer is given moves to its card on the way in. Raises `DeviceError` where the weights do not
    fit on all cards together: nothing is left on the CPU or the disk.
    """
    from accelerate import dispatch_model

    use_device(cards[0])
    by_module = layout(name, folder, dtype, cards)
    model = read_causal(name, folder, dtype, "cpu" if adapter else by_module)
    if adapter:
        model = merge_adapter(model, adapter)
        dispatch_model(model, by_module, skip_keys=model._skip_keys_device_placement)
    return model.eval().requires_grad_(False)


def _layout(folder: str, dtype: str, rooms: tuple[int, ...]) -> Mapping[str, int] | None:
    """Return the number of each module's card; None if one card or another is too small."""
    blocks = _blocks(folder, dtype)
    low, high = 0, max(rooms)
    best = _fill(blocks, rooms)
    if best is None:
        return None
    while low < high:  # the smallest that may lie on a card
        middle = (low + high) // 2
        found = _fill(blocks, [min(room, middle) for room in rooms])
        if found is None:
            low = middle + 1
        else:
            best, high = found, middle
    return best


def _fill(blocks: Sequence[_Block], rooms: Sequence[int]) -> dict[str, int] | None:
    """Put blocks on cards in order, each next card when one is full; None if the last one is."""
    placed: dict[str, int] = {}
    left = list(rooms)
    card = 0
    for block in blocks:
        if block.with_block is not None:
            at = placed[block.with_block]
        else:
            while block.n_bytes > left[card]:
                card += 1
                if card == len(left):
                    return None
            at = card if block.n_bytes else 0
        placed[block.name] = at
        left[at] -= block.n_bytes
    return placed if min(left) >= 0 else None


def _blocks(folder: str, dtype: str) -> tuple[_Block, ...]:
    """Return the blocks of a model in order."""
    return _blocks_of(folder, dtype, Path(folder, "config.json").read_bytes())


@cache
def _blocks_of(folder: str, dtype: str, _: bytes) -> tuple[_Block, ...]:
    """Make a model from its configuration, without weights, for its blocks; a second for 80 layers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = auto.from_config(config, dtype=getattr(torch, dtype))
    whole = frozenset(getattr(model, "_no_split_modules", None) or ())
    if not whole:
        raise ModelError(
            f"architecture {type(model).__name__} ({folder}) does not say which of its layers must stay "
            "whole, so it cannot lie on several cards; give a smaller --dtype, or a card with more memory"
        )
    first: dict[int, str] = {}
    blocks = []
    for name, tensors in _pieces(model, whole, ""):
        shared = next((first[id(one)] for one in tensors if id(one) in first), None)
        own = [one for one in tensors if id(one) not in first]
        blocks.append(_Block(name, sum(one.numel() * one.element_size() for one in own), shared))
        first.update((id(one), name) for one in own)
    return tuple(blocks)


def _pieces(
    module: "nn.Module", whole: frozenset[str], name: str
) -> Iterator[tuple[str, list[Any]]]:
    """Yield what lies on one card whole, in order: the name of a module or tensor, and its parameters."""
    children = list(module.named_children())
    if name and (type(module).__name__ in whole or not children):
        yield name, list(module.parameters())
        return
    for own, tensor in module.named_parameters(recurse=False):
        yield f"{name}.{own}".lstrip("."), [tensor]
    for own, _ in module.named_buffers(recurse=False):
        yield f"{name}.{own}".lstrip("."), []
    for child_name, child in children:
        yield from _pieces(child, whole, f"{name}.{child_name}".lstrip("."))
