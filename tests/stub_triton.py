"""A Triton that is not there: its operations on the CPU, one program after the other, each access checked."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from types import ModuleType
from typing import Any

import pytest
import torch


class AccessError(AssertionError):
    """A program touched memory that is not its tensor's."""


class Pointer:
    """Places in a tensor's memory, counted from its first number: one, or many at once."""

    def __init__(self, memory: torch.Tensor, at: Any = 0) -> None:
        self.memory = memory
        self.at = torch.as_tensor(at)

    def __add__(self, more: Any) -> "Pointer":
        return Pointer(self.memory, self.at + more)

    def inside(self, mask: Any) -> torch.Tensor:
        """Return which places are touched; raise `AccessError` for one beyond the tensor."""
        touched = torch.as_tensor(True if mask is None else mask).expand(self.at.shape)
        beyond = touched & ((self.at < 0) | (self.at >= len(self.memory)))
        if beyond.any():
            raise AccessError(f"place {self.at[beyond].max()} of {len(self.memory)}")
        return touched


class Kernel:
    """A function of a program; ``kernel[grid](...)`` runs one program for each place of the grid."""

    place: tuple[int, ...] = ()

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: Any, num_warps: int, **options: Any) -> None:
            given = [
                Pointer(one.as_subclass(torch.Tensor).view(-1))
                if isinstance(one, torch.Tensor)
                else one
                for one in args
            ]
            for Kernel.place in product(*map(range, grid)):
                self.function(*given, **options)

        return launch


def load(pointer: Pointer, mask: Any = None, other: float = float("nan")) -> torch.Tensor:
    """Read what is inside the mask; the rest is ``other``."""
    inside = pointer.inside(mask)
    found = pointer.memory[torch.where(inside, pointer.at, 0)]
    return found if mask is None else torch.where(inside, found, other)


def store(pointer: Pointer, value: torch.Tensor, mask: Any = None) -> None:
    """Write what is inside the mask."""
    inside = pointer.inside(mask)
    assert value.dtype == pointer.memory.dtype, value.dtype
    pointer.memory[pointer.at[inside]] = value.expand(pointer.at.shape)[inside]


def maximum(one: Any, other: Any) -> torch.Tensor:
    """Return the larger of two, a plain number taken for float32."""
    return torch.maximum(*(torch.as_tensor(each, dtype=torch.float32) for each in (one, other)))


LANGUAGE = {
    "constexpr": object, "float32": torch.float32, "int64": torch.int64, "load": load, "store": store,
    "program_id": lambda axis: torch.tensor(Kernel.place[axis]), "arange": torch.arange,
    "zeros": lambda shape, dtype: torch.zeros(shape, dtype=dtype), "where": torch.where,
    "exp": torch.exp, "log": torch.log, "sigmoid": torch.sigmoid, "maximum": maximum,
    "max": lambda x, axis: x.amax(axis), "sum": lambda x, axis: x.sum(axis),
}  # fmt: skip


def interpreted(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> ModuleType:
    """Return a module once more, its kernels those of this Triton."""
    stub, language = ModuleType("triton"), ModuleType("triton.language")
    vars(language).update(LANGUAGE)
    vars(stub).update({"jit": Kernel, "language": language})
    monkeypatch.setitem(sys.modules, "triton", stub)
    monkeypatch.setitem(sys.modules, "triton.language", language)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    assert module.__file__ is not None
    spec = spec_from_file_location(f"{module.__name__}_interpreted", module.__file__)
    assert spec is not None and spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
