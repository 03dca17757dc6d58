"""Reward models: load a sequence classifier with one label, and run texts through it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from curate.contracts import LoadContext
from curate.errors import ModelError
from curate.models.architectures import register_architecture
from curate.models.classifiers.text_model import IDS, Row, TextModel
from curate.models.files import check_causal_folder, find_folder
from curate.models.load import context_length, load_tokenizer, token_limit
from curate.models.pretrained import read_pretrained

if TYPE_CHECKING:
    from torch import Tensor


def load_reward_model(context: LoadContext) -> TextModel:
    """Load any sequence classifier of transformers that has one label.

    Texts that are too long lose their beginning, because the reward is read at the end.

    Raises `ModelError` for a model that cannot be used: not found, without safetensors weights, of
    another architecture, with several labels, or whose weights hold no reward head.
    """
    from transformers import AutoModelForSequenceClassification

    assert context.model is not None
    name = context.model
    folder, _ = find_folder(name, context.revision)
    check_causal_folder(name, folder)
    register_architecture(folder)
    model, report = read_pretrained(
        AutoModelForSequenceClassification, name, str(folder), context.dtype, "a reward model"
    )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ModelError(
            f"model {name!r} is not a reward model: its weights lack {missing}, and random ones would "
            "score at random; pass a trained sequence classifier with one label"
        )
    if model.config.num_labels != 1:
        raise ModelError(
            f"model {name!r} has {model.config.num_labels} labels "
            f"({', '.join(list(model.config.id2label.values())[:5])}), but a reward model has one"
        )
    config = model.config.get_text_config()
    config.use_cache = False
    tokenizer: Any = load_tokenizer(str(folder))
    tokenizer.truncation_side = "left"
    return TextModel(
        tokenizer=tokenizer,
        device=context.device,
        run=partial(_logits, model.to(context.device).eval().requires_grad_(False)),
        pad=_padding(config),
        limit=token_limit(context_length(config, tokenizer), tokenizer),
        batch_tokens=context.batch_tokens,
    )


def _logits(model: Any, inputs: Mapping[str, "Tensor"]) -> "Tensor":
    logits: Tensor = model(**inputs).logits
    return logits


def _padding(config: Any) -> Callable[[Sequence[Row]], int]:
    """Return a function that chooses the padding id of a batch.

    A decoder reads the reward at the last token that is not padding. One without a padding id is
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
