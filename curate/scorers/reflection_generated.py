"""Whether a model believes a response, read from what it writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from curate.contracts import (
    FAILURE,
    OUT_OF_MEMORY,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
    Role,
    RowScorer,
)
from curate.errors import ConfigError, ExampleFailure
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.prompts import Prompter
from curate.models.text.render import PROMPT_EXCEEDS_CONTEXT
from curate.registry import register
from curate.scorers.bsdetector.formula import VALUES
from curate.scorers.bsdetector.prompts import LETTERS, chosen_letter, reasoned_reflection_prompts

NO_LETTER: Final = 0.5


@register
@final
@dataclass(frozen=True)
class ReflectionGenerated(RowScorer):
    """How correct a model says the last response is, in [0, 1].

    BSDetector's self-reflection [1]_ as published: the model is asked twice, explains, and chooses
    correct (1), incorrect (0) or not sure (1/2); the mean of both, so five levels. Decoding is
    greedy, which the paper leaves open; the wording is ours. A reply without a letter counts as
    not sure, and lowers ``mass``.

    50 to 100 times as many tokens as ``reflection``.

    Parameters
    ----------
    max_new_tokens
        Maximum length of each reply in tokens.
    template
        ``chat`` for instruct models, or a text template.

    References
    ----------
    .. [1] Chen and Mueller, Quantifying Uncertainty in Answers from any Language Model and
       Enhancing their Trustworthiness, ACL 2024. https://arxiv.org/abs/2308.16175

    Examples
    --------
    >>> value_of("explanation: it adds up. answer: (A)"), value_of("no idea")
    (1.0, 0.5)
    """

    name: ClassVar[str] = "reflection-generated"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "reflection": Column("float", "mean choice, 1 correct, 0 incorrect; higher is surer"),
        "mass": Column("float", "share of the two replies with a letter"),
    }
    max_new_tokens: int = 512
    template: str = "chat"

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(
                "reflection-generated.max_new_tokens must be at least 1, got "
                f"{self.max_new_tokens}; try 512"
            )

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        from curate.models.generation.decoding import Sampling, load_decoder

        decoder = load_decoder(context)
        prompter = Prompter(decoder.tokenizer, self.template, context.chat)
        greedy = Sampling(1, self.max_new_tokens, 0.0, 0)

        def prompts(example: Example) -> list[list[int]]:
            texts = reasoned_reflection_prompts(example.messages[:-1], example.messages[-1])
            ids = [prompter.ids([{"role": "user", "content": text}]) for text in texts]
            if decoder.context is not None and max(map(len, ids)) >= decoder.context:
                raise ExampleFailure(PROMPT_EXCEEDS_CONTEXT)
            return ids

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, prompts)
            names = [f"{examples[p].id}-{question}" for p in places for question in (0, 1)]
            replies = iter(decoder.draw([ids for pair in made for ids in pair], names, greedy))
            reflection, mass = np.full((2, len(examples)), np.nan)
            run = np.zeros(len(examples), dtype=np.int64)
            for place, pair in zip(places, made, strict=True):
                both = [next(replies), next(replies)]
                drawn = [answers[0] for answers in both if answers is not None]
                if len(drawn) < len(both):
                    reasons[place] = OUT_OF_MEMORY
                    continue
                reflection[place] = np.mean([value_of(reply.text) for reply in drawn])
                mass[place] = np.mean([chosen_letter(reply.text) is not None for reply in drawn])
                run[place] = sum(map(len, pair)) + sum(reply.n_tokens for reply in drawn)
            return {
                "reflection": reflection, "mass": mass,
                FAILURE: object_column(reasons), TOKENS_RUN: run,
            }  # fmt: skip

        return score


def value_of(reply: str) -> float:
    """Return what the letter of a reply stands for; 1/2 without one."""
    letter = chosen_letter(reply)
    return NO_LETTER if letter is None else VALUES[LETTERS.index(letter)]
