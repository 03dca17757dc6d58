"""Tensors on the CPU that say they are on a GPU, so that what runs there alone runs here, with its waits seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import masking_utils

from curate.models.passes import head_kernel

WAITS = (
    "item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero",
    "masked_select", "unique", "is_nonzero",
)  # fmt: skip
WAITING_OPS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal")


class WaitError(AssertionError):
    """Python would have waited for the GPU."""


class OnCard(torch.Tensor):
    """A tensor whose values are on the CPU and whose ``is_cuda`` is true, as of all that is made of it.

    ``copies`` are the shapes that went back to the host.
    """

    copies: ClassVar[list[tuple[int, ...]]] = []
    is_cuda = property(lambda self: True)  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse what waits, count what goes back, and keep the rest on the card."""
        name = getattr(func, "__name__", "")
        where = args[1] if name == "to" and len(args) > 1 else None
        if name in WAITS or where == "cpu":
            raise WaitError(name)
        if isinstance(where, str) and where.startswith("cuda"):
            return args[0]
        if name == "copy_" and not isinstance(args[0], OnCard):
            cls.copies.append(tuple(args[1].shape))
            super().__torch_function__(func, types, args, kwargs or {})
            return args[0]
        return super().__torch_function__(func, types, args, kwargs or {})


class NoWaits(TorchDispatchMode):
    """Refuse operations whose result the host needs to go on, wherever they are called from."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation that does not wait."""
        name = func._schema.name.removeprefix("aten::")
        if name in WAITING_OPS:
            raise WaitError(name)
        if name in ("index", "index_put", "index_put_"):
            chosen = [one for one in args[1] if isinstance(one, torch.Tensor)]
            if any(one.dtype in (torch.bool, torch.uint8) for one in chosen):
                raise WaitError(f"{name} by a mask")
        counts = name == "repeat_interleave" and func._overloadname == "Tensor"
        if counts and (kwargs or {}).get("output_size") is None:
            raise WaitError(name)
        return func(*args, **(kwargs or {}))


class NoAnswers(TorchFunctionMode):
    """Refuse the same of any tensor where Python asks for it: in inference mode that is no operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function that does not wait."""
        name = getattr(func, "__name__", "")
        is_host = name == "numpy" and not isinstance(args[0], OnCard)  # what was copied back
        if name in WAITS and not is_host:
            raise WaitError(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise `WaitError` wherever Python would wait for the GPU; as `set_sync_debug_mode` does.

    Every tensor is taken for one on the card. transformers asks once a forward pass of padded rows
    whether they are packed, or whether their mask can be left out, and waits for that: the one wait
    that is let through.
    """
    with pytest.MonkeyPatch.context() as patch, NoWaits(), NoAnswers():
        patch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
        patch.setattr(masking_utils, "_ignore_causal_mask_sdpa", lambda *args, **options: False)
        yield


class Event:
    """An event of a stream that is always done."""

    def record(self, stream: Any) -> None:
        """Mark a place that is reached at once."""

    def synchronize(self) -> None:
        """Return at once."""


def row_statistics(raw, targets, *, bias=None, scale=1.0, softcap=None):  # type: ignore[no-untyped-def]
    """Compute what the kernel of that name computes."""
    logits = raw.float() if bias is None else raw.float() + bias
    logits = logits * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    total = torch.logsumexp(logits, 1)
    logp = logits - total[:, None]
    nll = -logp.gather(1, targets[:, None]).squeeze(1)
    return nll, -(logp.exp() * logp).sum(1), total


def to_residuals(raw, targets, nll, log_total):  # type: ignore[no-untyped-def]
    """Compute what the kernel of that name computes."""
    residual = (raw.float() - log_total[:, None]).exp()
    residual.scatter_(1, targets[:, None], torch.expm1(-nll)[:, None])
    raw.copy_(residual)


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch) -> type[OnCard]:
    """Let batches for ``cuda:0`` become tensors `OnCard`, with kernels and events that are stubs."""
    empty = torch.empty
    monkeypatch.setattr(OnCard, "copies", [])
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.as_subclass(OnCard))
    monkeypatch.setattr(
        torch,
        "empty",
        lambda *shape, pin_memory=False, **options: empty(*shape, **options),
    )
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device=None: None)
    monkeypatch.setattr(head_kernel, "available", lambda: True)
    monkeypatch.setattr(head_kernel, "row_statistics", row_statistics)
    monkeypatch.setattr(head_kernel, "to_residuals", to_residuals)
    return OnCard
