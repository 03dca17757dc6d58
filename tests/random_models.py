"""Small models with random weights, of many architectures, in memory."""

from typing import Any

import numpy as np
import torch

from curate.models.load import LoadedModel, ResolvedModel, take_apart
from curate.models.text.render import Rendered

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
EXACT = (
    "llama", "qwen2", "qwen3", "mistral", "gemma", "phi", "phi3", "olmo2", "cohere", "gpt_neox",
    "gpt2",
)  # fmt: skip
REFUSED = ("gemma2", "falcon", "bloom", "mamba")  # soft-capped, biased or recurrent attention


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
