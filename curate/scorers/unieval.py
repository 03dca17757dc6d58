"""UniEval: whether a response is natural, understandable and coherent with what came before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

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
from curate.errors import ConfigError, ExampleFailure
from curate.models.classifiers.text_model import make_each
from curate.models.classifiers.yes_no import load_yes_no
from curate.models.text.templates import history_and_response
from curate.registry import register

# The inputs the checkpoint was trained on; {y} is the response, {x} all that came before it.
QUESTIONS: Final[Mapping[str, str]] = {
    "naturalness": "question: Is this a natural response in the dialogue? </s> response: {y}",
    "understandability": (
        "question: Is this an understandable response in the dialogue? </s> response: {y}"
    ),
    "coherence": (
        "question: Is this a coherent response given the dialogue history? </s> response: {y} "
        "</s> dialogue history: {x}"
    ),
}


@register
@final
@dataclass(frozen=True)
class UniEval(RowScorer):
    """How sure a UniEval model is that a response is natural, understandable and coherent [1]_.

    Each is ``p(Yes) / (p(Yes) + p(No))`` at the first decoder step of a T5 model that reads the
    question and the response: in [0, 1], higher is better. Meant for ``MingZhong/unieval-dialog``;
    another checkpoint answers on another scale, and the one for summaries reads other questions.

    The last turn is the response, everything before it the dialogue history, one turn a line. Only
    ``coherence`` sees the history, after the response, so that with a long response the
    history is truncated; ``truncated`` says so. Three prompts an example, all of them in batches of
    similar length; of the head, only the rows of Yes and No are computed, which changes nothing.

    Parameters
    ----------
    max_length
        Tokens a prompt is cut to; 1024 in the official code.

    References
    ----------
    .. [1] Zhong et al., Towards a Unified Multi-Dimensional Evaluator for Text Generation, EMNLP
       2022, section 3. https://arxiv.org/abs/2210.07197

    Examples
    --------
    >>> UniEval.prompts(("Name a colour.", "Blue."))[0]
    'question: Is this a natural response in the dialogue? </s> response: Blue.'
    """

    name: ClassVar[str] = "unieval"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "judge"
    outputs: ClassVar[Mapping[str, Column]] = {
        "naturalness": Column("float", "p(Yes) that the response is natural; higher is better"),
        "understandability": Column("float", "p(Yes) that it can be understood; higher is better"),
        "coherence": Column("float", "p(Yes) that it fits the history; higher is better"),
        "truncated": Column("bool", "whether a prompt was cut: of coherence, its history first"),
    }
    max_length: int = 1_024

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ConfigError(f"unieval.max_length counts tokens, got {self.max_length}; try 1024")

    @staticmethod
    def prompts(turns: tuple[str, str]) -> tuple[str, ...]:
        """Return the three inputs for a history and a response, in the order of the columns."""
        history, response = turns
        return tuple(pattern.format(x=history, y=response) for pattern in QUESTIONS.values())

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        model = load_yes_no(context, self.max_length)

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, _turns)
            texts = [text for turns in made for text in self.prompts(turns)]
            answers = model.answers(texts)
            n, n_questions = len(examples), len(QUESTIONS)
            values, cut, tokens = (
                np.full((n, n_questions), np.nan),
                np.zeros(n, bool),
                np.zeros(n, int),
            )
            values[places] = answers.values.reshape(-1, n_questions)
            cut[places] = answers.truncated.reshape(-1, n_questions).any(axis=1)
            tokens[places] = answers.tokens.reshape(-1, n_questions).sum(axis=1)
            failures = np.array(reasons, dtype=object)
            questions = dict(zip(QUESTIONS, values.T, strict=True))
            return {**questions, "truncated": cut, FAILURE: failures, TOKENS_RUN: tokens}

        return score


def _turns(example: Example) -> tuple[str, str]:
    history, response = history_and_response(example)
    if not response:
        raise ExampleFailure("no_response")
    return history, response
