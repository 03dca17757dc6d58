"""Small models with random weights, of many architectures, in memory."""

from typing import Any

import numpy as np
import pytest
import torch

from curate.contracts.segments import POOLED
from curate.models.load import LoadedModel, ResolvedModel, take_apart
from curate.models.passes.forward import PassRequest
from curate.models.text.render import Rendered
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.likelihood import Likelihood

COMMON = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
NO_GROUPS = COMMON | {"num_key_value_heads": 4}
CONFIGS = {
    "llama": COMMON,
    "qwen2": COMMON,
    "qwen3": COMMON | {"head_dim": 32},
    "mistral": COMMON | {"sliding_window": 16},
    "gemma": COMMON | {"head_dim": 32},
    "gemma2": COMMON | {"head_dim": 32},
    "phi": NO_GROUPS,
    "phi3": COMMON | {"pad_token_id": 0},
    "olmo2": COMMON,
    "cohere": COMMON,
    "gpt_neox": {k: v for k, v in COMMON.items() if k != "num_key_value_heads"},
    "gpt2": {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "falcon": {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
               "alibi": True, "new_decoder_architecture": False, "max_position_embeddings": 128},
    "bloom": {"vocab_size": 512, "hidden_size": 64, "n_layer": 2, "n_head": 4},
    "mamba": {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
}  # fmt: skip
EXPERTS = COMMON | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
MORE = {
    "mixtral": COMMON | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 32},
    "qwen3_moe": EXPERTS | {"head_dim": 16},
    "deepseek_v3": NO_GROUPS | {
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
        "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
        "topk_group": 1, "moe_intermediate_size": 32,
    },
    "gemma3_text": COMMON | LOCAL | {"head_dim": 32},
    "cohere2": COMMON | LOCAL,
    "exaone4": COMMON | LOCAL,
    "starcoder2": COMMON | {"sliding_window": 16},
    "smollm3": COMMON | {"pad_token_id": 0, "no_rope_layers": [1, 0]},
    "opt": {"vocab_size": 512, "hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 128, "word_embed_proj_dim": 64},
    "glm": COMMON | {"head_dim": 16, "pad_token_id": 0},
    **dict.fromkeys(("nemotron", "helium"), COMMON | {"head_dim": 16}),
    **dict.fromkeys(("granite", "stablelm", "olmo", "ernie4_5"), COMMON),
    "gpt_oss": COMMON | {"head_dim": 16, "num_local_experts": 4, "sliding_window": 16},
    "qwen3_next": EXPERTS | {
        "head_dim": 16, "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
        "linear_value_head_dim": 16, "shared_expert_intermediate_size": 32,
    },
    "gpt_neo": {"vocab_size": 512, "hidden_size": 64, "num_layers": 2, "num_heads": 4,
                "attention_types": [[["global", "local"], 1]], "window_size": 16,
                "max_position_embeddings": 128},
    "gptj": {"vocab_size": 512, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128,
             "rotary_dim": 8},
    "mpt": {"vocab_size": 512, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 128},
}  # fmt: skip
MORE_REFUSED = ("gpt_oss", "qwen3_next", "gpt_neo", "gptj", "mpt")  # sinks, or their own attention
CONFIGS |= MORE
EXACT = (
    "llama", "qwen2", "qwen3", "mistral", "gemma", "phi", "phi3", "olmo2", "cohere", "gpt_neox",
    "gpt2",
)  # fmt: skip
ALIKE = (*EXACT, *(name for name in MORE if name not in MORE_REFUSED))  # however rows are laid out
REFUSED = ("gemma2", "falcon", "bloom", "mamba")  # soft-capped, biased or recurrent attention
EVERYTHING = PassRequest.of(
    [
        Likelihood(),
        DONOD(),
        DONOD(score_end=False),
        *(Embedding(pooling=p) for p in ("mean", "weighted_mean", "last")),
    ]
)


def random_causal(name: str) -> Any:
    """Return a causal language model of an architecture, float32 on the CPU."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = AutoConfig.for_model(name, **CONFIGS[name])
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.05)
    return model.eval().requires_grad_(False)


def loaded(name: str, device: str = "cpu", dtype: str = "float32") -> LoadedModel:
    """Return a random model of an architecture as the pass takes it; it has no tokenizer."""
    model = random_causal(name).to(getattr(torch, dtype)).to(device)
    backbone, head = take_apart(name, model, dtype)
    resolved = ResolvedModel(name, "", None, name, name, None, None, len(head.weight), None)
    return LoadedModel(resolved, backbone, head, None, device, dtype)  # type: ignore[arg-type]


def random_rows(n: int = 9, longest: int = 60, vocabulary: int = 512) -> list[Rendered]:
    """Return rows of random ids of many lengths, the second half of each scored, an end token last."""
    rng = np.random.default_rng(3)
    rows = []
    for length in [longest, 2, 17, *rng.integers(3, longest, n - 3)]:
        ids = rng.integers(1, vocabulary, length + 1).astype(np.int32)
        positions = np.arange(length // 2, length, dtype=np.int32)
        is_end = np.zeros(len(positions), dtype=bool)
        is_end[-1] = len(positions) > 1
        rows.append(
            Rendered(ids[:length], positions, ids[positions + 1], is_end, False, len(positions))
        )
    return rows


def random_groups(n: int = 3, answers: int = 4, vocabulary: int = 512) -> list[Rendered]:
    """Return examples of random ids: answers to a few prompts, one prompt an answer of another."""
    rng = np.random.default_rng(5)
    rows = []
    asked = rng.integers(1, vocabulary, 25)
    for _ in range(n):
        for length in [1, *rng.integers(2, 30, answers - 1)]:
            ids = np.append(asked, rng.integers(1, vocabulary, length + 1)).astype(np.int32)
            positions = np.arange(len(asked) - 1, len(ids) - 1, dtype=np.int32)
            is_end = np.zeros(len(positions), dtype=bool)
            is_end[-1] = len(positions) > 1
            targets = ids[positions + 1]
            rows.append(Rendered(ids[:-1], positions, targets, is_end, False, len(positions)))
        asked = np.append(asked[:12], rng.integers(1, vocabulary, 20)) if n % 2 else ids
    return rows


def assert_close(wanted: Any, found: Any, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Assert that two runs over the same rows measured `EVERYTHING` alike."""
    assert len(wanted) == len(found)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.nll, a.nll, rtol=rtol, atol=atol)
        np.testing.assert_allclose(b.entropy, a.entropy, rtol=rtol, atol=atol)
        np.testing.assert_allclose(b.inner, a.inner, rtol=rtol, atol=10 * atol)
        assert b.sq_norm.keys() == a.sq_norm.keys()
        for with_end, norm in a.sq_norm.items():
            assert b.sq_norm[with_end] == pytest.approx(norm, rel=10 * rtol, abs=atol)
        for stat in POOLED:
            np.testing.assert_allclose(b.pooled[stat], a.pooled[stat], rtol=rtol, atol=10 * atol)
