"""Whether a model believes a response, read from the probabilities of its choices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

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
from curate.errors import ExampleFailure
from curate.models.classifiers.text_model import make_each, object_column, that_fit
from curate.models.text.prompts import Prompter
from curate.models.text.render import PROMPT_EXCEEDS_CONTEXT
from curate.registry import register
from curate.scorers.bsdetector.formula import expected_choice
from curate.scorers.bsdetector.letters import letter_log_probs, letter_tokens
from curate.scorers.bsdetector.prompts import OPENING, reflection_prompts


@register
@final
@dataclass(frozen=True)
class Reflection(RowScorer):
    """How correct a model finds the last response when asked, in [0, 1].

    BSDetector's self-reflection [1]_ without decoding: the expected value of the choice between
    correct (1), incorrect (0) and not sure (1/2), from the probabilities of the letters A, B and C as
    next token. Two questions, each with A and B in both orders, so that a preference for a letter
    cancels; the mean of the four. What the four prompts share runs once.

    Deviations: the paper decodes an explanation and then a letter, in one order
    (``reflection-generated`` does); the wording is ours. The second question is a fresh prompt, not a
    second turn, which the paper leaves open. Where ``mass`` is below about 0.5 the prompt does
    not suit the model, and the value means little.

    Fails with ``no_prompt`` and ``prompt_exceeds_context``. Cost: one run of prompt and response,
    plus four runs of about 70 tokens.

    Parameters
    ----------
    template
        ``chat`` for instruct models, or a text template.

    References
    ----------
    .. [1] Chen and Mueller, Quantifying Uncertainty in Answers from any Language Model and
       Enhancing their Trustworthiness, ACL 2024. https://arxiv.org/abs/2308.16175

    Examples
    --------
    >>> normal, swapped = np.log([0.6, 0.2, 0.2]), np.log([0.4, 0.4, 0.2])
    >>> mean, mass = reflect(np.array([normal, swapped, normal, swapped]))
    >>> round(mean, 4), round(mass, 4)
    (0.6, 1.0)
    """

    name: ClassVar[str] = "reflection"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "reflection": Column("float", "expected choice, 1 correct, 0 incorrect; higher is surer"),
        "mass": Column("float", "total probability of the letters; below 0.5 distrust the value"),
    }
    template: str = "chat"

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        from curate.models.generation.decoding import load_decoder

        decoder = load_decoder(context)
        prompter = Prompter(decoder.tokenizer, self.template, context.chat)
        letters = letter_tokens(decoder.tokenizer, str(context.model))
        tokens = list(dict.fromkeys(token for ids in letters.values() for token in ids))

        def prompts(example: Example) -> list[list[int]]:
            texts = reflection_prompts(example.messages[:-1], example.messages[-1])
            ids = [prompter.ids([{"role": "user", "content": t}], None, OPENING) for t in texts]
            if decoder.context is not None and max(map(len, ids)) > decoder.context:
                raise ExampleFailure(PROMPT_EXCEEDS_CONTEXT)
            return ids

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, prompts)
            choices = decoder.choices(made, [examples[place].id for place in places], tokens)
            reflection, mass = np.full((2, len(examples)), np.nan)
            run = np.zeros(len(examples), dtype=np.int64)
            for place, ids, log_probs in that_fit(places, reasons, made, choices):
                chosen = letter_log_probs(log_probs, tokens, letters)
                reflection[place], mass[place] = reflect(chosen)
                run[place] = decoder.tokens_run(ids)
            return {
                "reflection": reflection, "mass": mass,
                FAILURE: object_column(reasons), TOKENS_RUN: run,
            }  # fmt: skip

        return score


def reflect(log_probs: Float[np.ndarray, "4 3"]) -> tuple[float, float]:
    """Return the mean expected choice and the mean mass of the letters over the four prompts.

    Parameters
    ----------
    log_probs
        Of A, B and C after each prompt. In rows 0 and 2 A is correct, in rows 1 and 3 B is.
    """
    by_meaning = log_probs.copy()
    by_meaning[1::2, :2] = log_probs[1::2, 1::-1]
    mass = np.exp(np.logaddexp.reduce(log_probs, axis=-1)).mean()
    return float(expected_choice(by_meaning).mean()), float(mass)
