"""GPT-NeoX with a scalar head: the architecture ``gpt_neox_reward_model`` of Open-Assistant.

Importing this module registers it with transformers, so that its published checkpoints (their
weights as safetensors) load like any other sequence classifier.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.gpt_neox.configuration_gpt_neox import GPTNeoXConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXModel, GPTNeoXPreTrainedModel

from curate.errors import ModelError


class GPTNeoXRewardConfig(GPTNeoXConfig):  # type: ignore[no-untyped-call]
    """Configuration of GPT-NeoX, and how hidden states become one vector: ``last`` or ``mean``."""

    model_type = "gpt_neox_reward_model"
    pooling: str = "last"


class GPTNeoXRewardModel(GPTNeoXPreTrainedModel):  # type: ignore[no-untyped-call]
    """GPT-NeoX (``gpt_neox``) and one linear unit with a bias (``out_proj``) over a pooled state.

    Raises `ModelError` for a pooling other than ``last`` and ``mean``.
    """

    config_class = GPTNeoXRewardConfig

    def __init__(self, config: GPTNeoXRewardConfig) -> None:
        super().__init__(config)
        if config.pooling not in ("last", "mean"):
            raise ModelError(
                f"a GPT-NeoX reward model pools by 'last' or 'mean', but this config.json says "
                f"{config.pooling!r}"
            )
        config.num_labels = 1
        self.gpt_neox = GPTNeoXModel(config)
        self.out_proj = nn.Linear(config.hidden_size, 1)
        self.pooling = config.pooling
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
    ) -> SequenceClassifierOutput:
        """Return the rewards, (rows, 1), of right-padded ids; without a mask nothing is padding."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.gpt_neox(
            input_ids=input_ids, attention_mask=mask, use_cache=False
        ).last_hidden_state
        if self.pooling == "mean":
            weights = mask[..., None].to(states.dtype)
            pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        else:
            last = mask.cumsum(dim=1).argmax(dim=1)
            pooled = states[torch.arange(len(states), device=states.device), last]
        return SequenceClassifierOutput(logits=self.out_proj(pooled))


AutoConfig.register("gpt_neox_reward_model", GPTNeoXRewardConfig)
AutoModelForSequenceClassification.register(GPTNeoXRewardConfig, GPTNeoXRewardModel)
