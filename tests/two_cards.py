"""Several cards that are not there: tensors whose values are on the CPU, each on a card of its own.

An operation on tensors of two cards fails, as torch's kernels do; a copy from one to another is counted.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import pytest
import torch
from mocked_card import MockedCard
from on_card import Event
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from curate.models.passes import head_kernel


class MixedError(AssertionError):
    """An operation was given tensors of two cards, or of a card and of the host."""


class Lying(torch.Tensor):
    """A tensor that lies on a card, by its ``device``; ``held`` has its values.

    ``moved`` are the copies between devices: from, to, shape.
    """

    held: torch.Tensor
    card: torch.device
    moved: ClassVar[list[tuple[str, str, tuple[int, ...]]]] = []
    device = property(lambda self: self.card)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor, card: torch.device) -> Self:
        """Put values on a card."""
        made: Self = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device="meta",
        )  # fmt: skip
        made.held, made.card = held, card
        return made

    def data_ptr(self) -> int:
        """Return where its values lie."""
        return self.held.data_ptr()

    def __repr__(self, **options: Any) -> str:
        """Say where it lies."""
        return f"Lying({self.device}, {tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation on the card that all of its tensors are on."""
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values, and put what comes out where it belongs."""
    name = func._schema.name.removeprefix("aten::")
    found: list[torch.Tensor] = []
    asked: list[torch.device] = []

    def look(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, torch.device) and value.type != "meta":
            asked.append(value)

    tree_map(look, (args, kwargs))
    cards = {one.device for one in found if isinstance(one, Lying)}
    to = asked[0] if asked else None
    if name in ("to", "_to_copy", "copy_"):
        source = args[name == "copy_"].device
        to = args[0].device if name == "copy_" else to or source
        if source != to:
            Lying.moved.append((str(source), str(to), tuple(args[0].shape)))
    elif len(cards) > 1 or (cards and any(one.dim() for one in found if type(one) is not Lying)):
        here = sorted({str(one.device) for one in found})
        raise MixedError(f"{name} of {' and '.join(here)}")
    plain_args, plain_kwargs = tree_map(_held, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    changed = name.endswith("_") and isinstance(args[0], torch.Tensor)
    copied = name in ("to", "_to_copy") and (args[0].device != to or args[0].dtype != result.dtype)
    if changed or (name in ("to", "_to_copy") and not copied):
        return args[0]
    card = to or next(iter(cards), torch.device("cpu"))
    if card.type != "cuda":
        return result
    return tree_map(lambda one: Lying(one, card) if isinstance(one, torch.Tensor) else one, result)


def _held(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.held if isinstance(value, Lying) else value


class Cards(TorchDispatchMode):
    """Makes new tensors for a card lie there: those that no tensor says it of."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation."""
        return run(func, args, kwargs or {})


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Lying]]:
    """Let there be ``cuda:0`` and ``cuda:1`` while the test runs, without kernels that need a GPU."""
    MockedCard(monkeypatch, 10**6, n=2)
    empty = torch.empty
    replaced = {
        "cuda._lazy_init": lambda: None,
        "cuda.Event": Event,
        "cuda.current_stream": lambda device=None: None,
        "Tensor.pin_memory": lambda self: self,
        "empty": lambda *shape, pin_memory=False, **options: empty(*shape, **options),
    }
    for name, answer in replaced.items():
        monkeypatch.setattr(f"torch.{name}", answer)
    monkeypatch.setattr(head_kernel, "available", lambda: False)
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # transformers' threads know no modes
    monkeypatch.setattr(Lying, "moved", [])
    with Cards():
        yield Lying
