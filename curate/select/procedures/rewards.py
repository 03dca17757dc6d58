"""Rewards of answers outside any pool, compared with the stored rewards of the references."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts import FAILURE, Example, LoadContext, RowScorer
from curate.errors import MissingColumnError
from curate.models.load import resolve_device
from curate.scoring.requests import make_request, missing_model

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.store import Store

SCORER: Final = "reward"
BLOCK: Final = 256  # conversations given to the scorer together


def reward_gaps(
    store: "Store", sets: Sequence[str], answers: Sequence[Example], options: "ScoringOptions"
) -> dict[str, float]:
    """Return the reward of each reference minus that of its answer, by example id.

    Higher: the reward model prefers the reference by more. On the reward model's own scale, which
    is not normalised. Examples without either reward are left out.

    Parameters
    ----------
    sets
        Ids of score sets of the scorer ``reward`` that hold the references' rewards, all of one
        configuration.
    answers
        Conversations that end with the answer, under the ids of their references.
    """
    references: dict[str, float] = {}
    for set_id in sets:
        table = store.read(f"select id, reward from score_set('{set_id}')").to_pydict()
        references |= dict(zip(table["id"], table["reward"], strict=True))
    status = next(score_set for score_set in store.score_sets() if score_set.set_id == sets[0])
    known = [answer for answer in answers if answer.id in references]
    rewards = rewards_of(store, known, status.config, options)
    return {i: references[i] - reward for i, reward in rewards}


def rewards_of(
    store: "Store",
    examples: Sequence[Example],
    config: Mapping[str, Any],
    options: "ScoringOptions",
) -> Iterator[tuple[str, float]]:
    """Yield the example id and the reward of each conversation that has one.

    Raises `MissingColumnError` without a model for the role ``reward``.
    """
    request = make_request(store, SCORER, SCORER, config, None, options)
    if request is None:
        raise MissingColumnError(missing_model(SCORER, options, config))
    assert isinstance(request.scorer, RowScorer) and request.model is not None
    device = resolve_device(options.device)
    context = LoadContext(
        device, request.dtype, request.model.path, batch_tokens=request.batch_tokens
    )
    score = request.scorer.load(context)
    for start in range(0, len(examples), BLOCK):
        block = examples[start : start + BLOCK]
        results = score(block)
        rows = zip(block, results[SCORER].tolist(), results[FAILURE], strict=True)
        yield from (
            (example.id, reward)
            for example, reward, failed in rows
            if failed is None and np.isfinite(reward)
        )
