"""Sequence classifiers of transformers: load one with its labels, and run texts through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, final

from curate.contracts import LoadContext
from curate.errors import ModelError
from curate.models.architectures import register_architecture
from curate.models.classifiers.text_model import IDS, Row, TextModel
from curate.models.files import check_causal_folder, find_folder
from curate.models.load import load_tokenizer, position_limit
from curate.models.pretrained import read_pretrained
from curate.models.room import use_device

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class SequenceClassifier:
    """A loaded classifier: its texts run to one logit per label, in order of ``labels``.

    ``is_multi_label``: every label holds or not by itself, so that each has a sigmoid of its own.
    """

    texts: TextModel
    labels: tuple[str, ...]
    is_multi_label: bool


def load_classifier(
    context: LoadContext,
    what: str,
    cut: Literal["beginning", "end"],
    *,
    exact_head: bool = False,
) -> SequenceClassifier:
    """Load any sequence classifier of transformers, and those that only we know.

    Parameters
    ----------
    what
        What it is to be, for errors, such as ``a reward model``.
    cut
        Where a text that is too long loses tokens.
    exact_head
        Compute in float32 what comes after the model's body, whatever the dtype of that.

    Raises
    ------
    ModelError
        A model that cannot be used: not found, without safetensors weights, of another
        architecture, or whose weights hold no head.
    """
    from transformers import AutoModelForSequenceClassification

    assert context.model is not None
    name = context.model
    folder, _ = find_folder(name, context.revision)
    check_causal_folder(name, folder)
    register_architecture(folder)
    use_device(context.device)
    model, report = read_pretrained(
        AutoModelForSequenceClassification, name, str(folder), context.dtype, what,
        device=context.device,
    )  # fmt: skip
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ModelError(
            f"model {name!r} is not {what}: its weights lack {missing}, and random ones would "
            "score at random; pass a trained sequence classifier"
        )
    if exact_head and context.dtype == "bfloat16":
        _head_in_float32(model)
    config = model.config.get_text_config()
    config.use_cache = False
    tokenizer: Any = load_tokenizer(str(folder))
    tokenizer.truncation_side = "left" if cut == "beginning" else "right"
    texts = TextModel(
        tokenizer=tokenizer,
        device=context.device,
        run=partial(_logits, model.to(context.device).eval().requires_grad_(False)),
        pad=_padding(config),
        limit=position_limit(config, tokenizer),
        batch_tokens=context.batch_tokens,
    )
    named = model.config.id2label
    labels = tuple(str(named[number]) for number in sorted(named))
    is_multi_label = model.config.problem_type == "multi_label_classification"
    return SequenceClassifier(texts, labels, is_multi_label)


def load_reward_model(context: LoadContext) -> TextModel:
    """Load a sequence classifier that has one label.

    Texts that are too long lose their beginning, because the reward is read at the end. Its head computes
    in float32: bfloat16 would leave two or three digits of a reward. Raises `ModelError` as
    `load_classifier` does, and for several labels.
    """
    model = load_classifier(context, "a reward model", "beginning", exact_head=True)
    if len(model.labels) != 1:
        raise ModelError(
            f"model {context.model!r} has {len(model.labels)} labels ({', '.join(model.labels[:5])}), "
            "but a reward model has one; for a classifier of several: --scorer classifier "
            f"--model-for judge={context.model}"
        )
    return model.texts


def _head_in_float32(model: Any) -> None:
    """Let the modules beside a model's body compute in float32, on what the body gives."""
    import torch

    def widen(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            one.float() if torch.is_tensor(one) and one.is_floating_point() else one
            for one in given
        )

    for name, module in model.named_children():
        if name != model.base_model_prefix:
            module.float().register_forward_pre_hook(widen)


def _logits(model: Any, inputs: Mapping[str, "Tensor"]) -> "Tensor":
    logits: Tensor = model(**inputs).logits
    return logits


def _padding(config: Any) -> Callable[[Sequence[Row]], int]:
    """Return a function that chooses the padding id of a batch.

    A decoder reads its label at the last token that is not padding. One without a padding id is
    given, for each batch, an id that none of its rows has.
    """
    if config.pad_token_id is not None:
        own = int(config.pad_token_id)
        return lambda rows: own

    def unused(rows: Sequence[Row]) -> int:
        used = {token for row in rows for token in row[IDS]}
        config.pad_token_id = next(i for i in range(len(used) + 1) if i not in used)
        return int(config.pad_token_id)

    return unused
