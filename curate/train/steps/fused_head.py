"""The LM head and the likelihood of its labels in one kernel of another library, where it gives the same."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts.libraries import versions_of
from curate.errors import ConfigError, MissingPackageError
from curate.models.memory import is_device_error, is_out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from curate.models.passes.head import Head
    from curate.train.model import TrainedModel

AUTO: Final = "auto"
OFF: Final = "off"
CUT: Final = "cut-cross-entropy"
LIGER: Final = "liger"
FUSED_LOSSES: Final = (AUTO, OFF, CUT, LIGER)
ALL_ROWS: Final = 2**31  # the kernels hold no logits, so that a forward pass need not be cut
TOLERANCE: Final = 5e-2  # relative L2 distance of likelihoods and gradients in bfloat16
_TINY: Final = 1e-30

_PACKAGES: Final = {CUT: ("cut_cross_entropy", CUT), LIGER: ("liger_kernel", "liger-kernel")}


@final
@dataclass(frozen=True, slots=True, eq=False)
class FusedHead:
    """The LM head of a model in training, with a kernel for the likelihood of labels.

    Parameters
    ----------
    head
        What `project` and `finish` are those of.
    name
        One of `FUSED_LOSSES`.
    kernel
        Negative log-likelihood of each target, (T,), with gradient, from hidden states, weight and
        targets, ``softcap``, and ``bias`` where there is one.
    dtype
        Of the products.
    """

    head: "Head"
    name: str
    kernel: Callable[..., Any]
    dtype: "torch.dtype"

    @property
    def chunk_rows(self) -> int:
        """Rows whose loss is computed together."""
        return ALL_ROWS

    def project(self, hidden: "Tensor") -> "Tensor":
        """Return hidden states times the weight, as the head does."""
        return self.head.project(hidden)

    def finish(self, raw: "Tensor") -> "Tensor":
        """Turn projections into logits, as the head does."""
        return self.head.finish(raw)

    def nll(self, hidden: "Tensor", targets: "Tensor") -> "Tensor":
        """Return the negative log-likelihood in nats of each target, (T,), without logits in memory."""
        head = self.head
        more: dict[str, Tensor] = {}
        if head.bias is not None:  # which not every version takes
            more["bias"] = (head.bias * head.scale).to(self.dtype)
        scaled = hidden if head.scale == 1.0 else hidden * head.scale
        weight = head.weight.to(self.dtype)
        nll: Tensor = self.kernel(
            scaled.to(self.dtype), weight, targets, softcap=head.softcap, **more
        )
        return nll.float()

    @property
    def described(self) -> str:
        """Name and version of the library."""
        package = _PACKAGES[self.name][1]
        return f"{package} {versions_of([package]).get(package, '')}".strip()


def check_fused(asked: str, device: str) -> None:
    """Raise `ConfigError` for a fused loss that cannot run here, before anything is loaded."""
    if asked in (AUTO, OFF):
        return
    if not device.startswith("cuda"):
        raise ConfigError(
            f"compute.fused_loss={asked} is a kernel for GPUs, and the device is {device}; leave it out"
        )
    module, package = _PACKAGES[asked]
    if find_spec(module) is None:
        raise MissingPackageError(
            f"compute.fused_loss={asked} needs the package {package}; type: pip install {package}"
        )


def fused_head(asked: str, model: "TrainedModel") -> tuple[FusedHead | None, str]:
    """Return the head with the kernel that may be used, or None and why: in bfloat16 on a GPU alone."""
    import torch

    if asked == OFF:
        return None, "off, as asked"
    if model.device.type != "cuda" or model.dtype != "bfloat16":
        return None, f"off: {model.dtype} on {model.device.type} computes it from logits, in chunks"
    names = [name for name in (CUT, LIGER) if asked in (AUTO, name)]
    installed = [name for name in names if find_spec(_PACKAGES[name][0]) is not None]
    if not installed:
        missing = " nor ".join(_PACKAGES[name][1] for name in names)
        return None, f"off: {'neither ' if len(names) > 1 else 'no '}{missing} is installed"
    try:
        kernel = _KERNELS[installed[0]]()
    except (ImportError, AttributeError, OSError) as error:
        return None, f"off: {_PACKAGES[installed[0]][1]} cannot be imported ({error})"
    return FusedHead(model.head, installed[0], kernel, torch.bfloat16), ""


def flaw_of(fused: FusedHead, run: "Callable[[Head | FusedHead], list[Tensor]]") -> str | None:
    """Return why a kernel does not give what logits do, or None if it does.

    Parameters
    ----------
    run
        Likelihoods and gradients of one forward pass, by a head.
    """
    import torch

    before = run(fused.head)
    try:
        found = run(fused)
    except (RuntimeError, TypeError, ValueError, AttributeError, ImportError, OSError) as error:
        if is_device_error(error) or is_out_of_memory(error):
            raise
        return f"it fails: {(str(error).splitlines() or [type(error).__name__])[0]}"
    apart = max(
        float((b.double() - a.double()).norm() / a.double().norm().clamp(min=_TINY))
        for a, b in zip(before, found, strict=True)
    )
    del before, found
    torch.cuda.empty_cache()
    return None if apart <= TOLERANCE else f"it differs from logits by {apart:.1e} of the whole"


def _cut() -> Any:
    function = import_module("cut_cross_entropy").linear_cross_entropy
    return partial(function, reduction="none")


def _liger() -> Any:
    import torch

    module = import_module("liger_kernel.transformers.functional")
    function = module.liger_fused_linear_cross_entropy
    takes = signature(function).parameters
    more = {"accum_dtype": torch.float32} if "accum_dtype" in takes else {}
    return partial(function, reduction="none", **more)


_KERNELS: Final[dict[str, Callable[[], Any]]] = {CUT: _cut, LIGER: _liger}
