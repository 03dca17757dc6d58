"""A judge on a server, as the columns of the scorer ``judge``."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from curate.contracts import FAILURE, TOKENS_RUN, Columns, Example, LoadContext
from curate.errors import ExampleFailure, ModelError
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.generation.endpoint import Endpoint
from curate.models.generation.server import SYSTEMATIC
from curate.models.generation.short_answers import ShortAnswer
from curate.scorers.judging.reply import read_reply

if TYPE_CHECKING:
    from curate.scorers.judge import Judge

LOW_MASS: Final = "low_mass"
NO_SCORE: Final = "no_score"


def served(scorer: "Judge", context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
    """Return a function that has a block of examples rated by the scorer's server.

    Raises `ModelError` at once when there is no such server or model, `ConfigError` for a key
    that is missing, and `ModelError` when a whole block is answered without a number.
    """
    server = scorer.connected()
    about = scorer.about(context)

    def score(examples: Sequence[Example]) -> Columns:
        asked, places, reasons = make_each(examples, about)
        replies = server.ask(asked)
        scores, mass = np.full((2, len(examples)), np.nan)
        written, run = np.zeros(len(examples), bool), np.zeros(len(examples), np.int64)
        for place, reply in zip(places, replies, strict=True):
            if isinstance(reply, ExampleFailure):
                reasons[place] = reply.reason
                continue
            run[place] = reply.n_tokens
            reading = read_reply(reply, scorer.answers)
            if reading is None:
                reasons[place] = NO_SCORE
                continue
            scores[place], mass[place] = reading.score, reading.mass
            written[place] = reading.written
            if reading.mass < scorer.min_mass:
                reasons[place] = LOW_MASS
        _refuse_prose(server.endpoint, scorer, replies, reasons)
        return {
            "score": scores, "mass": mass, "written": written,
            FAILURE: object_column(reasons), TOKENS_RUN: run,
        }  # fmt: skip

    return score


def _refuse_prose(
    endpoint: Endpoint,
    scorer: "Judge",
    replies: Sequence[ShortAnswer | ExampleFailure],
    reasons: Sequence[str | None],
) -> None:
    """Stop before a whole pool is paid for in vain: no reply of many holds a number."""
    texts = [reply.text for reply in replies if isinstance(reply, ShortAnswer)]
    if len(texts) < SYSTEMATIC or reasons.count(NO_SCORE) < len(texts):
        return
    raise ModelError(
        f"none of {len(texts)} replies of {scorer.served_model!r} holds a number on the scale "
        f"{scorer.answers[0]}-{scorer.answers[-1]}; the first one: {endpoint.quote(texts[0])!r}; let it "
        "write more (--set judge.max_new_tokens=N, for one that thinks first), or ask another model"
    )
