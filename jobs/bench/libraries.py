"""The trainers of transformers and of TRL, ready to train on rows that are rendered already."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

if TYPE_CHECKING:
    from curate.models.text.render import Rendered

IGNORED: Final = -100  # label of a position without loss
SETTINGS: Final[Mapping[str, Any]] = {
    "lr_scheduler_type": "cosine", "warmup_steps": 0.03, "save_strategy": "no", "report_to": "none",
    "disable_tqdm": True,
}  # fmt: skip

Example = Mapping[str, list[int]]


@final
@dataclass(frozen=True, slots=True)
class Way:
    """One way to train by a library.

    Parameters
    ----------
    words
        What it is called in a report.
    rows
        Rows of a forward pass, or packs of rows.
    pack_tokens
        Longest pack, by TRL, or None if rows are not packed.
    settings
        Of ``TrainingArguments``, or of ``SFTConfig``.
    by_trl
        Whether TRL's trainer runs it.
    """

    words: str
    rows: int
    pack_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_trl: bool = False

    @classmethod
    def packed(cls, words: str, tokens: int) -> "Way":
        """Return TRL's way with packs of at most so many tokens, one a pass: attention sees no other."""
        settings = {"packing": True, "packing_strategy": "bfd", "max_length": tokens}
        return cls(words, 1, tokens, settings, by_trl=True)

    @classmethod
    def padding_free(cls, words: str, rows: int) -> "Way":
        """Return TRL's way with the rows of a pass end to end."""
        return cls(words, rows, None, {"padding_free": True}, by_trl=True)

    def passes(self, rows_a_step: float, tokens_a_step: int) -> int:
        """Return the forward passes of a step of so many tokens, as near as whole passes can be."""
        packs = None if self.pack_tokens is None else tokens_a_step / self.pack_tokens
        return max(1, round((rows_a_step if packs is None else packs) / self.rows))


def make_trainer(
    model: Any,
    tokenizer: Any,
    texts: "Sequence[Rendered]",
    way: Way,
    settings: Mapping[str, Any],
) -> Any:
    """Return a library's trainer that will train on some rows, with the loss on their targets.

    Raises `ValueError` if it would leave out some of the tokens.
    """
    from transformers import PrinterCallback

    examples = [whole(text) for text in texts]
    settings = {
        **SETTINGS, "per_device_train_batch_size": way.rows, **way.settings, **settings,
    }  # fmt: skip
    make = _trl_trainer if way.by_trl else _trainer
    made = make(model, _padding(tokenizer), examples, settings)
    made.remove_callback(PrinterCallback)
    fed, wanted = (
        sum(len(example["input_ids"]) for example in data)
        for data in (made.train_dataset, examples)
    )
    if fed != wanted:
        raise ValueError(f"{way.words}: {fed} tokens would be trained on, not {wanted}")
    return made


def whole(text: "Rendered") -> Example:
    """Return a row as these libraries take it: with its last target, and labels beside the ids."""
    ids = np.append(text.ids, text.targets[-1])
    labels = np.full(len(ids), IGNORED)
    labels[text.positions + 1] = text.targets
    return {"input_ids": ids.tolist(), "labels": labels.tolist()}


def _padding(tokenizer: Any) -> Any:
    """Return a tokenizer that can pad: where it has no token for that, with the end of a text."""
    if tokenizer.pad_token is not None:
        return tokenizer
    able = copy.deepcopy(tokenizer)
    able.pad_token = able.eos_token
    return able


def _trainer(
    model: Any, tokenizer: Any, examples: Sequence[Example], settings: Mapping[str, Any]
) -> Any:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    data: Any = examples
    return Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )


def _trl_trainer(
    model: Any, tokenizer: Any, examples: Sequence[Example], settings: Mapping[str, Any]
) -> Any:
    import trl
    from datasets import Dataset

    library: Any = trl
    given = {"bf16": False, "gradient_checkpointing": False, "max_length": None, **settings}
    return library.SFTTrainer(
        model=model,
        args=library.SFTConfig(**given),
        train_dataset=Dataset.from_list(list(examples)),
        processing_class=tokenizer,
    )
