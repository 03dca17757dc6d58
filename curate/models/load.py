"""Resolves a model's name without loading weights, and loads its backbone with its head."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import LoadContext
from curate.errors import ConfigError, ModelError
from curate.models.adapters import merge_adapter
from curate.models.architectures import register_architecture
from curate.models.files import (
    check_causal_folder,
    check_tokenizer,
    count_parameters,
    find_folder,
    folder_hash,
    tokenizer_hash,
    weights_hash,
)
from curate.models.pretrained import UNREADABLE, first_line, read_causal
from curate.models.room import (
    card_has_bfloat16,
    cards_of,
    check_number,
    check_room,
    name_of,
    use_device,
)
from curate.models.spread import load_spread
from curate.models.text.chat_hash import chat_hash
from curate.models.text.chat_options import ChatOptions

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from curate.models.passes.head import Head

_OFFSET_TYPES: Final = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "xmod",
)  # positions begin after padding
_HUGE: Final = 10**9  # a tokenizer without a limit reports more
DTYPES: Final = ("float32", "bfloat16", "float64")
PROBE_LENGTH: Final = 16
PROBE_TOLERANCE: Final = {
    "float32": 1e-4,
    "bfloat16": 5e-2,
    "float64": 1e-9,
}  # of the largest logit


@final
@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model found on this machine, with a hash of everything that determines its scores.

    Parameters
    ----------
    name
        As the user typed it.
    path
        Folder of its files.
    revision
        Commit for a model of the hub, None for a folder.
    fingerprint
        The commit, or a hash of the configuration and weights of a folder.
    tokenizer_hash, chat_template_hash
        Of what decides token ids, and of the chat template (None without one).
    max_length
        Tokens the model can attend to, None if its configuration sets no limit.
    vocab_size, n_parameters
        Rows of the embedding, and stored parameters; None for an encoder.
    adapter, adapter_fingerprint
        Folder of the adapter and the hash of its files, or None.
    is_causal
        False for an encoder, which only a row scorer can use.
    chat
        How conversations go through its chat template.
    """

    name: str
    path: str
    revision: str | None
    fingerprint: str
    tokenizer_hash: str
    chat_template_hash: str | None
    max_length: int | None
    vocab_size: int | None
    n_parameters: int | None
    adapter: str | None = None
    adapter_fingerprint: str | None = None
    is_causal: bool = True
    chat: ChatOptions = field(default_factory=ChatOptions)


def resolve_model(
    name: str,
    *,
    revision: str | None = None,
    adapter: str | None = None,
    chat: ChatOptions | None = None,
) -> ResolvedModel:
    """Find a causal language model and its tokenizer and hash them, without loading weights.

    Cost: the weights of a local folder are read once per process, to hash them.

    Raises `ModelError` for a folder or hub id that does not exist or is not cached while offline, a
    folder without tokenizer or safetensors weights, a slow tokenizer, and a tokenizer with more
    ids than the model has embeddings.
    """
    folder, commit = find_folder(name, revision)
    check_causal_folder(name, folder)
    config = load_config(name, folder)
    text = config.get_text_config()
    tokenizer = load_tokenizer(str(folder))
    vocab_size = int(text.vocab_size)
    _check_vocabulary(name, tokenizer, vocab_size)
    adapter_folder = find_folder(adapter, None)[0] if adapter else None
    return ResolvedModel(
        name=name,
        path=str(folder),
        revision=commit,
        fingerprint=commit or weights_hash(folder),
        tokenizer_hash=tokenizer_hash(folder),
        chat_template_hash=chat_hash(tokenizer, chat or ChatOptions()),
        max_length=context_length(text, tokenizer),
        vocab_size=vocab_size,
        n_parameters=count_parameters(folder),
        adapter=str(adapter_folder) if adapter_folder else None,
        adapter_fingerprint=folder_hash(adapter_folder) if adapter_folder else None,
        chat=chat or ChatOptions(),
    )


def resolve_encoder(name: str, *, revision: str | None = None) -> ResolvedModel:
    """Find an encoder (a sentence-transformers folder or id) and hash its files."""
    folder, commit = find_folder(name, revision)
    check_tokenizer(name, folder)
    return ResolvedModel(
        name=name,
        path=str(folder),
        revision=commit,
        fingerprint=commit or folder_hash(folder),
        tokenizer_hash=tokenizer_hash(folder),
        chat_template_hash=None,
        max_length=None,
        vocab_size=None,
        n_parameters=None,
        is_causal=False,
    )


def load_tokenizer(folder: str) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of a local model folder; raise `ModelError` if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (*UNREADABLE, ImportError) as error:
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded: {first_line(error)}; copy it again, or "
            "save it as a class of transformers with tokenizer.save_pretrained(folder)"
        ) from error
    tokenizer: PreTrainedTokenizerBase = loaded
    return tokenizer


def resolve_device(device: str = "auto") -> str:
    """Return a torch device: ``auto`` is cuda if available, else cpu.

    Raises `ConfigError` for cuda without CUDA or such a GPU, and for anything that is not a device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or bool(colon) != number.isdecimal()):
        raise ConfigError(f"no device {device!r}; choose auto, cpu, cuda or cuda:0")
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {device!r} was requested, but torch finds no CUDA device here; "
            "pass --device cpu, or install a torch build with CUDA"
        )
    check_number(device)
    return device


def device_for(device: str, *, runs_weights: bool) -> str:
    """Return the device of `resolve_device`; cpu for ``auto`` where no weights run, without torch."""
    return resolve_device(device) if runs_weights or device != "auto" else "cpu"


def resolve_dtype(dtype: str, device: str) -> str:
    """Return a dtype name: ``auto`` is float32 on the CPU and bfloat16 on a GPU that has it."""
    if dtype == "auto":
        fast = device.startswith("cuda") and card_has_bfloat16(device)
        return "bfloat16" if fast else "float32"
    if dtype not in DTYPES:
        raise ConfigError(f"no dtype {dtype!r}; choose auto, {', '.join(DTYPES)}")
    return dtype


@final
@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A causal language model without its LM head's forward: the backbone, and the head apart.

    ``device`` is where token ids go; ``cards`` are all devices of a model that lies on several, of which
    the last hidden states may be on another, and the head on a third.
    """

    resolved: ResolvedModel
    backbone: "nn.Module"
    head: "Head"
    tokenizer: "PreTrainedTokenizerBase"
    device: str
    dtype: str
    cards: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it lies: its device, or one name for all of its cards."""
        return name_of(self.cards) if self.cards else self.device

    def hidden(self, ids: "Tensor") -> "Tensor":
        """Return the final hidden states, (rows, width, dim), of right-padded ids.

        No attention mask: with causal attention nothing before the padding can see it.
        """
        states: Tensor = self.backbone(input_ids=ids, use_cache=False).last_hidden_state
        return states

    @cached_property
    def head_weight_sq_norm(self) -> float:
        """Squared Frobenius norm of the LM head's weight, accumulated in float64."""
        import torch

        return float(
            sum(block.double().square().sum() for block in torch.split(self.head.weight, 4096))
        )


def load_model(resolved: ResolvedModel, device: str, dtype: str) -> LoadedModel:
    """Load weights and verify that our head gives the model's own logits.

    Tied embeddings: the head is treated as a matrix of its own (``output_only``). On a device such as
    ``cuda:0,1`` the layers are dealt to several cards.

    Raises `ModelError` for an architecture that is not a causal language model, or whose logits
    are more than a scaled, soft-capped linear head can give.
    """
    cards = cards_of(device)
    if len(cards) == 1:
        model = load_causal(resolved.name, resolved.path, resolved.adapter, device, dtype)
        cards = ()
    else:
        model = load_spread(resolved.name, resolved.path, resolved.adapter, cards, dtype)
        device = str(model.get_input_embeddings().weight.device)
    parts = take_apart(resolved.name, model, dtype)
    return LoadedModel(resolved, *parts, load_tokenizer(resolved.path), device, dtype, cards)


def load_causal(name: str, folder: str, adapter: str | None, device: str, dtype: str) -> Any:
    """Load a causal language model from its folder, without gradients, an adapter merged in.

    Raises `ModelError`, which calls the model ``name``, for any other architecture.
    """
    use_device(device)
    check_room(name, folder, dtype, device)
    model = read_causal(name, folder, dtype, "cpu" if adapter else device)
    if adapter:
        model = merge_adapter(model, adapter)
    return model.to(device).eval().requires_grad_(False)


def take_apart(name: str, model: Any, dtype: str) -> tuple["nn.Module", "Head"]:
    """Return a model's backbone and LM head, after a short probe confirms that they give its logits.

    The head shares the model's weight, without gradient. Raises `ModelError` for a model whose
    logits are more than a scaled, soft-capped linear head can give.
    """
    import torch

    from curate.models.passes.head import Head

    output = model.get_output_embeddings()
    architecture = type(model).__name__
    if output is None or getattr(output, "weight", None) is None:
        raise ModelError(
            f"model {name!r} ({architecture}) has no LM head; give a causal language model"
        )
    config = model.config.get_text_config()
    head = Head(
        output.weight.detach(),
        None if getattr(output, "bias", None) is None else output.bias.detach(),
        _logit_scale(model, config),
        getattr(config, "final_logit_softcapping", None),
    )
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(PROBE_LENGTH, device=model.device)[None] * 37 % rows
    with torch.inference_mode():
        wanted = model(input_ids=ids, use_cache=False).logits.double()
        if not wanted.isfinite().all():
            raise ModelError(
                f"the outputs of model {name!r} are not finite in {dtype}: its weights hold NaN or "
                "infinity, or overflow; copy it again, or choose another --dtype"
            )
        for candidate in (model.get_decoder(), model.base_model):
            if candidate is model:
                continue
            states = candidate(input_ids=ids, use_cache=False).last_hidden_state
            if states.shape[-1] != head.weight.shape[1]:
                continue
            logits = head.finish(head.project(states.to(head.weight.device))).double()
            logits = logits.to(wanted.device)
            error = (logits - wanted).abs().max() / wanted.abs().max()
            if logits.shape == wanted.shape and error <= PROBE_TOLERANCE[dtype]:
                return candidate, head
    raise ModelError(
        f"model {name!r} ({architecture}) computes its logits in a way this version does not know; "
        "scores would be wrong, so it is refused"
    )


def _logit_scale(model: Any, config: Any) -> float:
    """Return the factor an architecture applies to its logits; the probe verifies the guess."""
    for attribute in ("logit_scale", "lm_head_multiplier", "output_multiplier"):
        value = getattr(config, attribute, None)
        if isinstance(value, int | float):
            return float(value)
    divisor = getattr(config, "logits_scaling", None)
    return 1.0 / float(divisor) if isinstance(divisor, int | float) else 1.0


def load_config(name: str, folder: Path) -> Any:
    """Return the transformers configuration of a model folder; raise `ModelError` if it is unusable."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    register_architecture(folder)
    try:
        return AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except StrictDataclassError as error:
        raise ModelError(
            f"the config.json of model {name!r} cannot be used: {' '.join(str(error).split())}"
        ) from error
    except (*UNREADABLE, ArithmeticError) as error:
        raise ModelError(
            f"the config.json of model {name!r} cannot be used: {first_line(error)}"
        ) from error


def _check_vocabulary(name: str, tokenizer: Any, vocab_size: int) -> None:
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= vocab_size:
        raise ModelError(
            f"the tokenizer of model {name!r} does not fit it: token {token!r} has id {largest}, "
            f"but the model has {vocab_size} embeddings; use the tokenizer it was trained with"
        )


def tokenizer_and_context(context: LoadContext) -> "tuple[PreTrainedTokenizerBase, int | None]":
    """Return a row scorer's tokenizer and the tokens its model attends to, without loading weights."""
    assert context.model is not None
    folder = find_folder(context.model, context.revision)[0]
    tokenizer = load_tokenizer(str(folder))
    config = load_config(context.model, folder)
    return tokenizer, context_length(config.get_text_config(), tokenizer)


def context_length(config: Any, tokenizer: Any) -> int | None:
    """Return how many tokens a model can attend to, None if nothing limits it."""
    for attribute in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
        value = getattr(config, attribute, None)
        if isinstance(value, int) and value > 0:
            return value
    return token_limit(None, tokenizer)


def position_limit(config: Any, tokenizer: Any) -> int | None:
    """Return how many tokens an encoder or classifier can read, None if nothing limits it."""
    own = context_length(config, tokenizer)
    if own is not None and config.model_type in _OFFSET_TYPES:
        own -= (config.pad_token_id or 0) + 1
    return token_limit(own, tokenizer)


def token_limit(own: int | None, tokenizer: Any) -> int | None:
    """Return the smaller of a model's own limit and its tokenizer's, None if there is neither."""
    limits = (own, int(tokenizer.model_max_length))
    return min((limit for limit in limits if limit is not None and limit < _HUGE), default=None)
