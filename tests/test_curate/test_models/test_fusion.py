import pytest
import torch
from random_models import loaded

from curate.models import fusion
from curate.models.fusion import NO_FUSION, Fusion, fuse


@pytest.fixture
def in_torch(monkeypatch):
    """Kernels written in torch, with the roundings of the real ones."""

    def rms_norm(x, weight, eps):
        exact = x.float()
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + eps)
        return weight * exact.to(x.dtype)

    def rotate(x, cos, sin):
        half = x.shape[-1] // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return x * cos[:, None] + turned * sin[:, None]

    kernels = fusion.layer_kernels
    monkeypatch.setattr(kernels, "available", lambda: True)
    monkeypatch.setattr(kernels, "rms_norm", rms_norm)
    monkeypatch.setattr(kernels, "rotate", rotate)
    monkeypatch.setattr(
        kernels, "silu_product", lambda gate, up: torch.nn.functional.silu(gate) * up
    )


def hidden(model, replaced):
    with torch.inference_mode(), replaced.active():
        return model.hidden(torch.arange(20)[None])


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "mistral"])
def test_norms_gated_layers_and_rotary_embeddings_are_found_and_change_nothing(in_torch, name):
    model = loaded(name)
    found = fuse(model.backbone)
    kinds = str(found).split(", ")
    assert len(kinds) == 3 and kinds[0].endswith("MLP") and kinds[1].endswith("RMSNorm")
    assert kinds[2] == "apply_rotary_pos_emb"
    torch.testing.assert_close(hidden(model, found), hidden(model, NO_FUSION))
    _, _, original, replacement = found.functions[0]
    assert original is not replacement
    assert all("forward" not in module.__dict__ for module, _ in found.forwards)
    assert getattr(found.functions[0][0], found.functions[0][1]) is original


def test_what_computes_something_else_under_a_known_name_stays_as_it_is(in_torch):
    gemma = fuse(loaded("gemma").backbone)  # adds one to the weight; gated by a GELU
    assert str(gemma) == "apply_rotary_pos_emb"
    cohere = fuse(loaded("cohere").backbone)  # rotates neighbours, not halves
    assert str(cohere) == "CohereMLP"
    assert fuse(loaded("gpt2").backbone) == NO_FUSION


def test_a_replacement_somebody_made_before_is_left_alone(in_torch):
    model = loaded("llama")
    norm = model.backbone.norm
    norm.forward = norm.forward
    found = fuse(model.backbone)
    assert norm not in [module for module, _ in found.forwards]
    hidden(model, found)
    assert "forward" in norm.__dict__


def test_a_backbone_that_differs_as_a_whole_is_left_alone(in_torch, monkeypatch):
    model = loaded("llama")
    original = fusion._parts

    def broken(backbone):
        found = original(backbone)
        last = (backbone.norm, lambda hidden_states: hidden_states * 2)
        return Fusion((*found.forwards, last), found.functions)

    monkeypatch.setattr(fusion, "_parts", broken)
    assert fuse(model.backbone) == NO_FUSION


def test_without_a_gpu_build_of_torch_nothing_is_replaced(monkeypatch):
    monkeypatch.setattr(fusion.layer_kernels, "available", lambda: False)
    assert fuse(loaded("llama").backbone) is NO_FUSION
    assert str(NO_FUSION) == "nothing"
