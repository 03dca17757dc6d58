"""What a sequence classifier says of a text."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Literal, final

import numpy as np
from jaxtyping import Float

from curate.contracts import (
    FAILURE,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
    Role,
    RowScorer,
)
from curate.errors import ModelError, did_you_mean
from curate.models.classifiers.sequence import SequenceClassifier, load_classifier
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import of_any_model
from curate.models.text.templates import Part, history_and_response, part_of
from curate.registry import register

Format = Literal["text", "pair", "chat"]

_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)|(?<=_)\d+$")


@register
@final
@dataclass(frozen=True)
class Classifier(RowScorer):
    """The score a sequence classifier gives to a text: a regression, an expected class, or a label's probability.

    ``curate score --scorer classifier --model-for judge=MODEL`` with any sequence classifier of
    transformers, weights in safetensors. With one label the score is its raw output, on the
    model's own scale: FineWeb-Edu's classifier [1]_ rates educational value from 0 to 5 that way, and
    a reward model its preference (``reward`` knows more of their formats). With several labels it
    is the expected number of the label, where every label's name holds one, such as ``LABEL_0``
    or ``4 stars``; or, with ``label``, the probability of that one. Labels that do not exclude each
    other have a probability each and no expectation.

    Evidence: for pretraining, web text that FineWeb-Edu's classifier rates 3 or more trains better models
    than all of it [1]_; of instruction data no such comparison is known, and it has been trained on
    web pages. Scores of two models are not comparable. One pass of the model over each text, in
    batches of similar length; a text longer than the context is cut, and ``truncated`` says so.

    Parameters
    ----------
    format
        ``text``: the part of the example as plain text, with the model's special tokens. ``pair``: what
        comes before the last response, and the response, as the two texts of a pair. ``chat``: the
        whole conversation in the tokenizer's chat template.
    part
        Of the format ``text``. ``response``: the last turn. ``prompt``: what comes before it. ``full``: both.
    label
        The label whose probability is the score; empty: the output of the only label, or the expected number.
    keep
        Which end of a long text is read: encoders were mostly trained on beginnings, while a decoder such
        as a reward model reads its score at the end.

    References
    ----------
    .. [1] Penedo et al., The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale,
       NeurIPS 2024. https://arxiv.org/abs/2406.17557

    Examples
    --------
    >>> numbers_of(["1 star", "2 stars"]), numbers_of(["LABEL_0", "LABEL_1"]), numbers_of(["bad", "good"])
    ([1.0, 2.0], [0.0, 1.0], None)
    """

    name: ClassVar[str] = "classifier"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "judge"
    outputs: ClassVar[Mapping[str, Column]] = {
        "score": Column("float", "output, expected number or probability; higher is more of it"),
        "label": Column("text", "likeliest label; empty for a model with one"),
        "probabilities": Column("floats", "of the labels in the model's order; empty for one"),
        "truncated": Column("bool", "whether the text did not fit the model's context"),
    }
    format: Format = "text"
    part: Part = "response"
    label: str = ""
    keep: Literal["beginning", "end"] = "beginning"

    @property
    def template(self) -> str:
        """The format: under ``chat`` the chat template is part of the score's key."""
        return self.format

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        model = load_classifier(
            context, "a classifier", "end" if self.keep == "beginning" else "beginning"
        )
        if self.format == "chat" and not model.texts.tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer of classifier {context.model!r} has no chat template, which "
                "classifier.format=chat needs; pass --set classifier.format=text, or pair"
            )
        read = self._reader(str(context.model), model)
        add_special = self.format != "chat"  # a chat template writes them itself
        tokenizer = model.texts.tokenizer
        chat = None if add_special else ChatTemplate(tokenizer, of_any_model(context.chat))
        texts_of = partial(self._texts, chat)

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, texts_of)
            first, *second = zip(*made, strict=True) if made else ((),)
            found = model.texts.outputs(first, *second, add_special=add_special)
            n = len(examples)
            scores, cut, run = np.full(n, np.nan), np.zeros(n, bool), np.zeros(n, int)
            labels, probabilities = [""] * n, [np.zeros(0)] * n
            cut[places], run[places] = found.truncated, found.tokens
            for place, logits in zip(places, found.values, strict=True):
                scores[place], labels[place], probabilities[place] = read(logits)
            return {
                "score": scores, "label": object_column(labels),
                "probabilities": object_column(probabilities), "truncated": cut,
                FAILURE: object_column(reasons), TOKENS_RUN: run,
            }  # fmt: skip

        return score

    def _texts(self, chat: ChatTemplate | None, example: Example) -> tuple[str, ...]:
        if self.format == "pair":
            return history_and_response(example)
        if chat is not None:
            return (chat.whole(example),)
        return (part_of(example, self.part),)

    def _reader(
        self, name: str, model: SequenceClassifier
    ) -> Callable[[Float[np.ndarray, " k"]], tuple[float, str, Float[np.ndarray, " p"]]]:
        """Return a function from logits to score, likeliest label and probabilities."""
        labels = model.labels
        if self.label and self.label not in labels:
            raise ModelError(
                f"classifier {name!r} has no label {self.label!r}{did_you_mean(self.label, labels)}; "
                f"choose one of: {', '.join(labels)}"
            )
        if len(labels) == 1 and not self.label:
            return lambda logits: (float(logits[0]), "", np.zeros(0))
        values = numbers_of(labels)
        if not self.label and (values is None or model.is_multi_label):
            why = (
                "do not exclude each other"
                if model.is_multi_label
                else "have no numbers to expect one of"
            )
            raise ModelError(
                f"the labels of classifier {name!r} {why}: {', '.join(labels)}; say whose probability is "
                f"the score: --set classifier.label={labels[0]}"
            )
        alone = model.is_multi_label or len(labels) == 1

        def read(logits: Float[np.ndarray, " k"]) -> tuple[float, str, Float[np.ndarray, " p"]]:
            probability = label_probabilities(logits, exclusive=not alone)
            likeliest = labels[int(probability.argmax())]
            if self.label:
                return float(probability[labels.index(self.label)]), likeliest, probability
            return float(probability @ np.array(values)), likeliest, probability

        return read


def label_probabilities(
    logits: Float[np.ndarray, " k"], *, exclusive: bool
) -> Float[np.ndarray, " k"]:
    """Return the softmax of logits, or of labels that do not exclude each other the sigmoid of each."""
    if not exclusive:
        each: Float[np.ndarray, " k"] = np.exp(-np.logaddexp(0, -logits))
        return each
    weights = np.exp(logits - logits.max())
    probability: Float[np.ndarray, " k"] = weights / weights.sum()
    return probability


def numbers_of(labels: Sequence[str]) -> list[float] | None:
    """Return the number in each label's name, or None unless all have exactly one and no two the same."""
    found = [_NUMBER.findall(label) for label in labels]
    if any(len(numbers) != 1 for numbers in found):
        return None
    values = [float(numbers[0]) for numbers in found]
    return values if len(set(values)) == len(values) else None
