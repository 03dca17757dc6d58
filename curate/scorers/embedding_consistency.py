"""How well a response agrees with a model's own answers, by sentence embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from curate.contracts import Column, Columns, DerivedScorer, Example, LoadContext, Need, Role
from curate.models.classifiers.text_model import object_column
from curate.registry import register
from curate.scorers.bsdetector.answers import PromptStyle
from curate.scorers.nli_consistency import Agreement, sampling
from curate.scorers.sentence_embedding import load_encoder


@register
@final
@dataclass(frozen=True)
class EmbeddingConsistency(DerivedScorer):
    """Agreement of the last response with sampled answers to its prompt, by an encoder.

    Our fallback for CLEAR when there is no NLI model: the cosine of the two embeddings, clipped
    to [0, 1]. It does not see contradiction: "paid" and "not paid" look alike. An empty sample, or
    one of an empty response, agrees with nothing (0) unless both are empty.

    Parameters
    ----------
    k, prompt, max_new_tokens, seed, server, served_model
        Of the samples.

    Examples
    --------
    >>> EmbeddingConsistency(prompt="plain").requires()["samples"].config["prompt"]
    'plain'
    """

    name: ClassVar[str] = "embedding-consistency"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "encoder"
    outputs: ClassVar[Mapping[str, Column]] = {
        "similarity": Column("floats", "per sample, cosine with the response, clipped to [0, 1]"),
        "match": Column("ints", "per sample, 1 where it equals the response"),
        "parsed": Column(
            "ints", "per sample, 1 where the answer was found where the prompt asked for it"
        ),
    }
    k: int = 5
    prompt: PromptStyle = "cot"
    max_new_tokens: int = 512
    seed: int = 0
    server: str = ""
    served_model: str = ""

    def requires(self) -> Mapping[str, Need]:
        return {"samples": Need("samples", "target", sampling(self))}

    def load(self, context: LoadContext) -> Callable[[Sequence[Example], Columns], Columns]:
        model = load_encoder(context, self.name)

        def score(examples: Sequence[Example], read: Columns) -> Columns:
            agreements = [
                Agreement.of(example, texts, self.prompt)
                for example, texts in zip(examples, read["samples.texts"], strict=True)
            ]
            texts = sorted(
                {
                    text
                    for agreement in agreements
                    for text in (agreement.response, *agreement.answers)
                }
            )
            encoded = model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
            vectors = dict(zip(texts, np.asarray(encoded, dtype=np.float64), strict=True))
            return {
                "similarity": object_column(
                    [cosines(agreement, vectors) for agreement in agreements]
                ),
                "match": object_column([agreement.match for agreement in agreements]),
                "parsed": object_column([agreement.parsed for agreement in agreements]),
            }

        return score


def cosines(
    agreement: Agreement, vectors: Mapping[str, Float[np.ndarray, " dim"]]
) -> Float[np.ndarray, " k"]:
    """Return the cosine of each answer with the response, clipped to [0, 1]; 1 for equal texts."""
    values = np.zeros(len(agreement.answers), dtype=np.float32)
    for number, answer in enumerate(agreement.answers):
        if agreement.match[number]:
            values[number] = 1
        elif answer and agreement.response:
            ours, theirs = vectors[agreement.response], vectors[answer]
            length = np.linalg.norm(ours) * np.linalg.norm(theirs)
            values[number] = np.clip(ours @ theirs / length, 0, 1) if length else 0
    return values
