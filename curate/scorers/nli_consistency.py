"""How well a response agrees with a model's own answers, by natural language inference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast, final

import numpy as np

from curate.contracts import (
    TOKENS_RUN,
    Column,
    Columns,
    DerivedScorer,
    Example,
    LoadContext,
    Need,
    Role,
)
from curate.models.classifiers.nli import load_nli
from curate.models.classifiers.text_model import object_column
from curate.models.text.templates import turn_text
from curate.registry import register
from curate.scorers.bsdetector.answers import PromptStyle, normalised, read_answers
from curate.scorers.bsdetector.contradiction import Comparison, judge
from curate.scorers.bsdetector.prompts import history_text


@register
@final
@dataclass(frozen=True)
class NliConsistency(DerivedScorer):
    """Agreement of the last response with sampled answers to its prompt, by an NLI model.

    For each of the stored ``samples``: one minus the probability of contradiction, averaged over both
    orders of the pair, and whether the two are equal (BSDetector's ``s`` and ``r`` [1]_). Equal answers
    are judged once, and answers equal to the response not at all. Which label is contradiction is
    read from the model's configuration.

    Our choices where the paper leaves it open: an empty sample, or one of an empty response, agrees
    with nothing (0) unless both are empty; whitespace, case and a final full stop do not affect
    equality; a pair longer than the model takes is split into sentences, and the most
    contradictory pair of sentences counts, which can only lower the score (``n_split`` counts).

    Parameters
    ----------
    k, prompt, max_new_tokens, seed, server, served_model
        Of the samples.
    with_question
        Whether the prompt is put in front of both sides, so that two short answers can contradict
        each other at all.

    References
    ----------
    .. [1] Chen and Mueller, Quantifying Uncertainty in Answers from any Language Model and
       Enhancing their Trustworthiness, ACL 2024, equation 1. https://arxiv.org/abs/2308.16175

    Examples
    --------
    >>> NliConsistency(k=3).requires()["samples"].config["k"]
    3
    """

    name: ClassVar[str] = "nli-consistency"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "nli"
    outputs: ClassVar[Mapping[str, Column]] = {
        "similarity": Column("floats", "per sample, 1 - p(contradiction) over both orders"),
        "match": Column("ints", "per sample, 1 where it equals the response"),
        "parsed": Column(
            "ints", "per sample, 1 where the answer was found where the prompt asked for it"
        ),
        "n_split": Column("int", "samples judged sentence by sentence because they were too long"),
        "n_pairs": Column("int", "distinct ordered pairs judged for the example"),
    }
    k: int = 5
    prompt: PromptStyle = "cot"
    max_new_tokens: int = 512
    seed: int = 0
    with_question: bool = True
    server: str = ""
    served_model: str = ""

    def requires(self) -> Mapping[str, Need]:
        return {"samples": Need("samples", "target", sampling(self))}

    def load(self, context: LoadContext) -> Callable[[Sequence[Example], Columns], Columns]:
        assert context.model is not None
        model = load_nli(context.model, context.device, context.dtype, context.batch_tokens)

        def score(examples: Sequence[Example], read: Columns) -> Columns:
            agreements = [
                Agreement.of(example, texts, self.prompt)
                for example, texts in zip(examples, read["samples.texts"], strict=True)
            ]
            questions = [
                history_text(example.messages[:-1]) if self.with_question else ""
                for example in examples
            ]
            judged = judge(
                [
                    Comparison(agreement.response, agreement.answers, question)
                    for agreement, question in zip(agreements, questions, strict=True)
                ],
                model,
            )
            return {
                "similarity": object_column(
                    [np.array(judgement.similarity, np.float32) for judgement in judged]
                ),
                "match": object_column([agreement.match for agreement in agreements]),
                "parsed": object_column([agreement.parsed for agreement in agreements]),
                "n_split": np.array([judgement.n_split for judgement in judged]),
                "n_pairs": np.array([judgement.n_pairs for judgement in judged]),
                TOKENS_RUN: np.array([judgement.tokens for judgement in judged]),
            }

        return score


@final
@dataclass(frozen=True, eq=False)
class Agreement:
    """A response and the sampled answers: which equal it, and which were found where asked for."""

    response: str
    answers: tuple[str, ...]
    match: np.ndarray
    parsed: np.ndarray

    @classmethod
    def of(cls, example: Example, texts: str, prompt: PromptStyle) -> "Agreement":
        """Read the answers to one example from its stored samples."""
        response = turn_text(example.messages[-1])
        answers = read_answers(texts, prompt)
        own = normalised(response)
        match = np.array([normalised(answer.text) == own for answer in answers], dtype=np.int32)
        parsed = np.array([answer.parsed for answer in answers], dtype=np.int32)
        return cls(response, tuple(answer.text for answer in answers), match, parsed)


def sampling(scorer: DerivedScorer) -> dict[str, Any]:
    """Return the configuration of the samples a scorer reads, from its fields of the same names."""
    config: dict[str, Any] = asdict(cast(Any, scorer))
    names = ["k", "prompt", "max_new_tokens", "seed"]
    names += ["server", "served_model"] if config["server"] else []
    return {name: config[name] for name in names}
