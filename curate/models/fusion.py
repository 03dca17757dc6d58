"""Which parts of a backbone run through kernels of our own, each checked against the original."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from curate.models import layer_kernels
from curate.models.memory import is_device_error, is_out_of_memory

TOKENS: Final = 24  # of the check
TOLERANCE: Final = {torch.bfloat16: 2**-7, torch.float16: 2**-10, torch.float32: 1e-5}
ROTARY: Final = "apply_rotary_pos_emb"


@final
@dataclass(frozen=True, slots=True)
class Fusion:
    """Replacements that were checked, put in place only while `active`.

    Parameters
    ----------
    forwards
        Modules, and what runs instead of their forward.
    functions
        Python modules of transformers, the name of a function, the original and what replaces it.
    """

    forwards: tuple[tuple[nn.Module, Callable[..., Tensor]], ...]
    functions: tuple[tuple[Any, str, Any, Any], ...]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run the body with the replacements in place; not for gradients."""
        try:
            for module, forward in self.forwards:
                module.forward = forward
            for place, name, _, replacement in self.functions:
                setattr(place, name, replacement)
            yield
        finally:
            for module, _ in self.forwards:
                module.__dict__.pop("forward", None)
            for place, name, original, _ in self.functions:
                setattr(place, name, original)

    def __str__(self) -> str:
        kinds = sorted({type(module).__name__ for module, _ in self.forwards})
        return ", ".join([*kinds, *(name for _, name, _, _ in self.functions)]) or "nothing"


NO_FUSION: Final = Fusion((), ())


def fuse(backbone: nn.Module) -> Fusion:
    """Find norms, gated layers and rotary embeddings our kernels can stand in for.

    Each kind is run once on random values beside the original, and then all of them together in the
    whole backbone; what differs by more than rounding, or fails, stays as it is.
    """
    if not layer_kernels.available():
        return NO_FUSION
    found = _parts(backbone)
    ids = torch.arange(TOKENS, device=next(backbone.parameters()).device)[None]

    def run() -> Tensor:
        states: Tensor = backbone(input_ids=ids, use_cache=False).last_hidden_state
        return states

    def run_fused() -> Tensor:
        with found.active():
            return run()

    return found if _same(run, run_fused, slack=8.0) else NO_FUSION


def _parts(backbone: nn.Module) -> Fusion:
    """Return what can be replaced, each kind checked by itself."""
    known: dict[tuple[str, int], bool] = {}
    forwards = []
    places: dict[str, None] = {}
    for module in backbone.modules():
        made = _replacement(module)
        if made is not None:
            forward, width = made
            kind = (type(module).__qualname__, width)
            if kind not in known:
                known[kind] = _agrees(module, forward, width)
            if known[kind]:
                forwards.append((module, forward))
        if type(module).__name__.endswith("Attention"):
            places[type(module).__module__] = None
    weight = next(backbone.parameters())
    functions = []
    for name in places:
        place = sys.modules[name]
        original = getattr(place, ROTARY, None)
        if original is not None and _rotates(original, weight):
            functions.append((place, ROTARY, original, _rotary(original)))
    return Fusion(tuple(forwards), tuple(functions))


def _replacement(module: nn.Module) -> tuple[Callable[..., Tensor], int] | None:
    """Return what could run instead of a module, and the width of its input."""
    name = type(module).__name__
    one: Any = module
    if "forward" in module.__dict__:  # somebody else's replacement, such as a hook of accelerate
        return None
    if name.endswith("RMSNorm") and isinstance(getattr(module, "weight", None), Tensor):
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if isinstance(eps, float) and one.weight.dim() == 1:

            def norm(hidden_states: Tensor) -> Tensor:
                return layer_kernels.rms_norm(hidden_states, one.weight, eps)

            return norm, len(one.weight)
    if name.endswith("MLP") and all(hasattr(module, f"{p}_proj") for p in ("gate", "up", "down")):

        def gated(x: Tensor) -> Tensor:
            product = layer_kernels.silu_product(one.gate_proj(x), one.up_proj(x))
            down: Tensor = one.down_proj(product)
            return down

        return gated, int(one.gate_proj.in_features)
    return None


def _agrees(module: nn.Module, forward: Callable[..., Tensor], width: int) -> bool:
    weight = next(module.parameters())
    x = torch.randn(1, TOKENS, width, dtype=weight.dtype, device=weight.device)
    return _same(lambda: module(x), lambda: forward(x))


def _rotates(original: Any, weight: Tensor) -> bool:
    options: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
    q, k = (torch.randn(1, TOKENS, heads, 16, **options).transpose(1, 2) for heads in (3, 1))
    angles = torch.randn(1, TOKENS, 8, device=weight.device).repeat(1, 1, 2)
    cos, sin = angles.cos().to(weight.dtype), angles.sin().to(weight.dtype)
    return _same(
        lambda: torch.cat(original(q, k, cos, sin), dim=1),
        lambda: torch.cat(_rotary(original)(q, k, cos, sin), dim=1),
    )


def _same(
    original: Callable[[], Tensor], ours: Callable[[], Tensor], *, slack: float = 1.0
) -> bool:
    try:
        with torch.inference_mode():
            wanted, found = original(), ours()
            apart = float((found.double() - wanted.double()).abs().max())
            return found.dtype == wanted.dtype and apart <= TOLERANCE.get(
                wanted.dtype, 0.0
            ) * float(wanted.abs().max())
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if is_device_error(error) or is_out_of_memory(error):
            raise
        return False


def _rotary(original: Any) -> Any:
    """Return a rotary embedding that rotates in one kernel what has the plain form."""

    def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *more: Any, **options: Any) -> Any:
        plain = (
            not more
            and not options
            and q.dim() == k.dim() == 4
            and len(q) == len(k) == 1
            and cos.dim() == 3
            and cos.dtype == q.dtype == k.dtype
            and cos.shape == (1, q.shape[2], q.shape[3])
            and q.stride(3) == k.stride(3) == cos.stride(2) == sin.stride(2) == 1
        )
        if not plain:
            return original(q, k, cos, sin, *more, **options)
        return layer_kernels.rotate(q, cos, sin), layer_kernels.rotate(k, cos, sin)

    return rotary
