"""Where an adapter sits in models whose layers are not `torch.nn.Linear`."""

import pytest
import torch
from torch import nn

from curate.errors import ConfigError
from curate.train.config import LoraConfig
from curate.train.model import _with_lora

SMALL = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=32, **SMALL))


def mamba():
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, **SMALL))


def adapted(model, targets=("all-linear",)):
    return _with_lora(model, model.get_output_embeddings(), LoraConfig(r=2, targets=targets), 0)


@pytest.mark.parametrize(
    ("make", "layers"),
    [(gpt2, {"c_attn", "c_proj", "c_fc"}), (mamba, {"in_proj", "x_proj"})],
    ids=["gpt2", "mamba"],
)
def test_an_adapter_changes_nothing_at_first_and_is_trained(make, layers):
    model = make().eval()
    ids = torch.arange(8)[None]
    before = model(ids).logits
    whole = adapted(model)
    trained = [name for name, one in whole.named_parameters() if one.requires_grad]
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == layers
    after = whole(ids).logits
    assert torch.equal(before, after)
    after.square().sum().backward()
    grads = [p.grad for n, p in whole.named_parameters() if "lora_B" in n]
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_a_layer_that_reads_past_an_adapter_is_one_error_that_names_the_others():
    with pytest.raises(ConfigError, match=r"'out_proj' matches no linear layer .* in_proj"):
        adapted(mamba(), ("out_proj",))


def test_a_model_without_linear_layers_is_refused():
    model = gpt2()
    model.transformer.h = nn.ModuleList()
    with pytest.raises(ConfigError, match="no linear layer but its LM head.*without --lora"):
        adapted(model)
