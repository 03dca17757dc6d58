"""Stands in for vLLM where it is not installed: its names and its answers, from transformers on a CPU."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypedDict

import pytest

__version__ = "0.0.stub"
STARTED: list[dict[str, Any]] = []  # what each engine was started with


def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Be the installed vLLM, built for CPUs, until the test is over."""
    platforms: Any = ModuleType("vllm.platforms")
    platforms.current_platform = type("CpuPlatform", (), {"device_type": "cpu"})
    monkeypatch.setitem(sys.modules, "vllm", sys.modules[__name__])
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setenv(
        "VLLM_ENABLE_V1_MULTIPROCESSING", "0"
    )  # as it would be set, to be taken back
    return sys.modules[__name__]


class TokensPrompt(TypedDict):
    prompt_token_ids: list[int]


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int | None = 16
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None]


class LLM:
    """One engine; a prompt must leave room for one more token, as it must in vLLM."""

    def __init__(
        self,
        model: str,
        *,
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        dtype: str = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
        max_num_batched_tokens: int | None = None,
        enable_chunked_prefill: bool | None = None,
        enable_prefix_caching: bool | None = None,
        logprobs_mode: str = "raw_logprobs",
        disable_log_stats: bool = True,
    ) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        STARTED.append({name: value for name, value in locals().items() if name != "self"})
        limit = AutoConfig.from_pretrained(model).max_position_embeddings
        if max_model_len is not None and max_model_len > limit:
            raise ValueError(f"max_model_len ({max_model_len}) is greater than {limit}. Lower it.")
        self.limit = max_model_len or limit
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()

    def generate(
        self, prompts: Sequence[TokensPrompt], sampling_params: SamplingParams, *, use_tqdm: bool
    ) -> list[RequestOutput]:
        assert not use_tqdm and not sampling_params.detokenize
        assert sampling_params.max_tokens == 1 and sampling_params.prompt_logprobs == 0
        return [self._answer(prompt["prompt_token_ids"]) for prompt in prompts]

    def _answer(self, ids: list[int]) -> RequestOutput:
        import torch

        assert all(type(token) is int for token in ids)
        if len(ids) >= self.limit:
            raise ValueError(f"The prompt (length {len(ids)}) does not leave room for a token")
        with torch.inference_mode():
            logits = self.model(torch.tensor([ids])).logits[0].float()
        logp = torch.log_softmax(logits, dim=-1)
        found = [float(logp[at, token]) for at, token in enumerate(ids[1:])]
        entries = [{token: Logprob(value)} for token, value in zip(ids[1:], found, strict=True)]
        return RequestOutput(ids, [None, *entries])
