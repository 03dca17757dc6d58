"""A kernel of another library for the loss: compared with logits on the first batch, used or refused in words."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from packed_training import gradient, trained
from torch.nn.functional import cross_entropy

from curate.errors import ConfigError, MissingPackageError
from curate.train.config import ComputeConfig
from curate.train.steps import fused_head as fused
from curate.train.steps.fused_head import check_fused, fused_head


class EarlyGradients(torch.autograd.Function):
    """Forms the gradients going forward, as older liger does, and scales them by the first number alone."""

    @staticmethod
    def forward(ctx, hidden, weight, target, bias, softcap):
        with torch.enable_grad():
            h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
            logits = torch.nn.functional.linear(h, w, bias).float()
            logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
            loss = cross_entropy(logits, target, reduction="none")
            ctx.save_for_backward(*torch.autograd.grad(loss.sum(), [h, w]))
        return loss.detach()

    @staticmethod
    def backward(ctx, grad_output):
        scale = grad_output.reshape(-1)[0]
        return *(gradient * scale for gradient in ctx.saved_tensors), None, None, None


def old_liger(input, weight, target, bias=None, ignore_index=-100, lse_square_scale=0.0,
              label_smoothing=0.0, reduction="mean", softcap=None):  # fmt: skip
    """Take the arguments of an older liger's function, by their names."""
    assert reduction == "none"
    return EarlyGradients.apply(input, weight, target, bias, softcap)


def liger(input, weight, target, bias=None, ce_weight=None, ignore_index=-100, lse_square_scale=0.0,
          label_smoothing=0.0, reduction="mean", softcap=None, return_z_loss=False, accum_dtype=None,
          use_token_scaling=False, return_token_accuracy=False):  # fmt: skip
    """Take the arguments of liger's function, by their names."""
    assert accum_dtype is torch.float32
    return cut(input, weight, target, softcap=softcap, reduction=reduction, bias=bias)


def cut(e, c, targets, ignore_index=-100, softcap=None, reduction="mean", shift=False, filter_eps="high",
        bias=None):  # fmt: skip
    """Take the arguments of cut-cross-entropy's function, by their names; its release takes no bias."""
    assert reduction == "none"
    logits = torch.nn.functional.linear(e, c, bias).float()
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return cross_entropy(logits, targets, reduction="none")


@pytest.fixture
def installed(monkeypatch):
    """Install stubs of the libraries that are named."""

    def install(**functions):
        modules = {}
        if "liger" in functions:
            modules["liger_kernel"] = ModuleType("liger_kernel")
            modules["liger_kernel.transformers"] = ModuleType("liger_kernel.transformers")
            functional = ModuleType("liger_kernel.transformers.functional")
            functional.liger_fused_linear_cross_entropy = functions["liger"]
            modules["liger_kernel.transformers.functional"] = functional
        if "cut" in functions:
            modules["cut_cross_entropy"] = ModuleType("cut_cross_entropy")
            modules["cut_cross_entropy"].linear_cross_entropy = functions["cut"]
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(fused, "find_spec", lambda name: name if name in modules else None)

    return install


def on_gpu(name="llama", dtype="bfloat16"):
    return replace(trained(name), device=torch.device("cuda"), dtype=dtype)


def offered(asked="auto", model=None):
    return fused_head(asked, model or on_gpu())


def test_the_first_that_is_installed_is_offered(installed):
    installed(cut=cut, liger=liger)
    assert offered()[0].name == "cut-cross-entropy"
    assert offered("liger")[0].name == "liger"
    installed(liger=liger)
    assert offered()[0].name == "liger"
    assert offered()[0].described == "liger-kernel"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"asked": "off"}, "off, as asked"),
        ({"model": trained("llama")}, "off: float32 on cpu computes it from logits, in chunks"),
        ({"model": on_gpu(dtype="float32")}, "off: float32 on cuda computes it from logits, in chunks"),
        ({"asked": "cut-cross-entropy"}, "off: no cut-cross-entropy is installed"),
    ],
)  # fmt: skip
def test_logits_are_used_for_a_reason(installed, options, why):
    installed(liger=liger)
    assert offered(**options) == (None, why)


def test_nothing_is_offered_where_nothing_is_installed_or_can_be_imported(installed, monkeypatch):
    installed()
    assert offered()[1] == "off: neither cut-cross-entropy nor liger-kernel is installed"
    monkeypatch.setattr(fused, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cut_cross_entropy", None)
    assert offered()[1].startswith("off: cut-cross-entropy cannot be imported (")


def test_what_cannot_run_is_refused_before_anything_is_loaded(installed):
    installed()
    for asked in ("auto", "off"):
        check_fused(asked, "cpu")
    with pytest.raises(ConfigError) as error:
        check_fused("liger", "cpu")
    assert str(error.value) == (
        "compute.fused_loss=liger is a kernel for GPUs, and the device is cpu; leave it out"
    )
    with pytest.raises(MissingPackageError) as error:
        check_fused("cut-cross-entropy", "cuda:0")
    assert str(error.value) == (
        "compute.fused_loss=cut-cross-entropy needs the package cut-cross-entropy; type: pip install "
        "cut-cross-entropy"
    )
    with pytest.raises(ConfigError, match="fused_loss must be one of auto, off, cut-cross-entropy"):
        ComputeConfig(fused_loss="flash")


def head_of(model, installed, **functions):
    installed(**functions)
    return replace(offered()[0], head=model.head, dtype=torch.float32)


@pytest.mark.parametrize("name", ["llama", "gemma2", "cohere", "phi"])
@pytest.mark.parametrize("library", [{"cut": cut}, {"liger": liger}], ids=["cut", "liger"])
def test_a_kernel_that_gives_the_same_is_used(installed, name, library):
    model, said = trained(name), []
    wanted, exact = gradient(model, 200)
    fused = head_of(model, installed, **library)
    found, formed = gradient(model, 200, fused=fused, say=said.append)
    assert said == [f"loss: {fused.described}: the first batch is that of logits, to rounding"]
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    np.testing.assert_allclose(found.nll, wanted.nll, rtol=1e-5)
    torch.testing.assert_close(formed, exact, rtol=1e-4, atol=1e-6)


def wrong(*args, **options):
    return cut(*args, **options) * 1.2


def failing(*args, **options):
    raise RuntimeError("no kernel image\nmore")


@pytest.mark.parametrize(
    ("library", "why"),
    [
        ({"cut": wrong}, "cut-cross-entropy is not used, because it differs from logits by 2.0e-01 of the whole"),
        ({"cut": failing}, "cut-cross-entropy is not used, because it fails: no kernel image"),
        ({"liger": old_liger}, "liger-kernel is not used, because it differs from logits by "),
    ],
)  # fmt: skip
def test_a_kernel_that_does_not_is_refused_in_words(installed, library, why):
    model, said = trained("llama"), []
    wanted, exact = gradient(model, 200)
    fused = head_of(model, installed, **library)
    found, formed = gradient(model, 200, fused=fused, say=said.append)
    assert said[0].startswith(f"loss: off: {why}")
    assert found.loss == wanted.loss and torch.equal(formed, exact)


def test_a_lack_of_memory_is_no_flaw_of_a_kernel(installed):
    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = trained("llama")
    with pytest.raises(torch.OutOfMemoryError):
        gradient(model, 200, fused=head_of(model, installed, cut=full))
