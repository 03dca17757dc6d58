"""The model being trained: its backbone, live LM head and optional adapter, and how to save it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import torch
from torch import Tensor, nn

from curate.errors import ConfigError, MissingPackageError
from curate.models.adapters import quiet_peft
from curate.models.load import (
    LoadedModel,
    ResolvedModel,
    load_tokenizer,
    take_apart,
)
from curate.models.passes.head import Head
from curate.models.passes.packing import packing_flaw
from curate.models.pretrained import no_progress_bar, read_causal
from curate.models.room import use_device

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from curate.train.config import LoraConfig, TrainConfig

ALL_LINEAR: Final = "all-linear"
_SHOWN: Final = 12
# These read the weights of two layers directly, past an adapter on them, so that it would do nothing.
_MAMBA_TYPES: Final = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
_PAST_ADAPTERS: Final = ("out_proj", "dt_proj")


@final
@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A causal language model in training.

    Parameters
    ----------
    resolved
        Where it came from.
    whole
        The transformers model, or the peft model around it: what is saved, and what generates.
    backbone, head
        Its parts; the head's weight is the live parameter.
    tokenizer
        Saved beside the weights.
    dtype, device
        Of the computation.
    packed
        Run rows end to end, without padding; the model must have passed `packing_flaw`.
    """

    resolved: ResolvedModel
    whole: Any
    backbone: nn.Module
    head: Head
    tokenizer: "PreTrainedTokenizerBase"
    dtype: str
    device: torch.device
    packed: bool = False

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the trained parameters by name, shared ones once."""
        for name, parameter in self.whole.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    @property
    def n_parameters(self) -> int:
        """Parameters of the whole model, frozen ones included, shared ones once."""
        return sum(parameter.numel() for parameter in self.whole.parameters())

    @property
    def n_trained(self) -> int:
        """Parameters that are trained."""
        return sum(parameter.numel() for _, parameter in self.named_parameters())

    def autocast(self) -> torch.autocast:
        """Return the context of every forward pass: bfloat16 autocast, or none."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def hidden(self, ids: Tensor) -> Tensor:
        """Return the final hidden states of right-padded ids, (rows, width, dim)."""
        states: Tensor = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        return states

    def for_scoring(self) -> LoadedModel:
        """Return the same live weights in the form that the one-pass kernel reads."""
        head = replace(
            self.head,
            weight=self.head.weight.detach(),
            bias=None if self.head.bias is None else self.head.bias.detach(),
        )
        return LoadedModel(
            self.resolved, self.backbone, head, self.tokenizer, str(self.device), self.dtype
        )

    def save(self, folder: Path) -> None:
        """Write weights (or the adapter) and tokenizer so that transformers or peft loads them."""
        with no_progress_bar():
            self.whole.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


def load_trained_model(
    resolved: ResolvedModel,
    config: "TrainConfig",
    device: torch.device,
    *,
    adapter: Path | None = None,
) -> TrainedModel:
    """Load a model to train, in training dtype, with an adapter if the configuration has one.

    ``adapter``: folder of a saved adapter to load instead of a fresh one.

    Raises `ModelError` for a model that cannot be used, `ConfigError` for adapter targets that
    match no layer, `MissingPackageError` without peft.
    """
    lora = config.method.lora
    dtype = config.compute.dtype
    stored = "float32" if dtype == "bfloat16" and lora is None else dtype
    use_device(str(device))
    model = read_causal(resolved.name, resolved.path, stored, str(device)).to(device).eval()
    backbone, head = take_apart(resolved.name, model, stored)
    output = model.get_output_embeddings()
    head = replace(head, weight=output.weight, bias=getattr(output, "bias", None))
    if config.compute.gradient_checkpointing:
        _recompute(model)
    whole = model
    if adapter is not None:
        whole = _with_saved(model, adapter)
    elif lora is not None:
        whole = _with_lora(model, output, lora, config.seed)
    tokenizer = load_tokenizer(resolved.path)
    made = TrainedModel(resolved, whole, backbone, head, tokenizer, dtype, device)
    return replace(made, packed=can_pack(made) and not config.compute.gradient_checkpointing)


def can_pack(model: TrainedModel) -> bool:
    """Return whether a model trains on rows end to end: in bfloat16 on a GPU, if that is exact."""
    if model.device.type != "cuda" or model.dtype != "bfloat16":
        return False
    with model.autocast():
        return packing_flaw(model.for_scoring()) is None


def _recompute(model: Any) -> None:
    """Switch activation checkpointing on, under the name this version of transformers has for it."""
    settings = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)


def _with_saved(model: Any, adapter: Path) -> Any:
    import peft

    with quiet_peft():
        return peft.PeftModel.from_pretrained(model, adapter)


def _with_lora(model: Any, output: nn.Module, lora: "LoraConfig", seed: int) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError(
            "training an adapter needs the package peft; type: pip install 'curate-sft[lora]'"
        ) from error
    targets = _targets(model, output, lora.targets)
    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        fan_in_fan_out=_is_transposed(model, targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=_cuda_devices(model)), quiet_peft():
        torch.manual_seed(seed)
        whole = peft.get_peft_model(model, settings)
    whole.requires_grad_(False)
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return whole


def _targets(model: Any, output: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    """Return the full names of the layers an adapter sits in; GPT-2's linear layers are `Conv1D`."""
    from transformers.pytorch_utils import Conv1D

    is_mamba = model.config.model_type in _MAMBA_TYPES
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not output
        and not (is_mamba and name.endswith(_PAST_ADAPTERS))
    ]
    if not layers:
        raise ConfigError(
            f"the model ({type(model).__name__}) has no linear layer but its LM head, so there is "
            "nothing to adapt; train all weights, without --lora"
        )
    if ALL_LINEAR in wanted:
        return layers
    matching = {w: [n for n in layers if n == w or n.endswith(f".{w}")] for w in wanted}
    missing = [name for name, matches in matching.items() if not matches]
    if missing:
        ends = sorted({name.rpartition(".")[2] for name in layers})
        more = f" and {len(ends) - _SHOWN} more" if len(ends) > _SHOWN else ""
        raise ConfigError(
            f"lora target {missing[0]!r} matches no linear layer of the model; "
            f"it has: {', '.join(ends[:_SHOWN])}{more}; or pass {ALL_LINEAR}"
        )
    chosen = {name for matches in matching.values() for name in matches}
    return [name for name in layers if name in chosen]


def _is_transposed(model: Any, targets: list[str]) -> bool:
    """Whether the layers store their weights as (in, out), which `Conv1D` does."""
    return not isinstance(model.get_submodule(targets[0]), nn.Linear)


def _cuda_devices(model: Any) -> list[torch.device]:
    return [model.device] if model.device.type == "cuda" else []
