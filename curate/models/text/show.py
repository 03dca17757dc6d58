"""The tokens of one example as a scorer's pass sees them, for a person to check by hand."""

from dataclasses import dataclass
from typing import final

import numpy as np

from curate.contracts import Example, ForwardScorer
from curate.errors import ExampleFailure
from curate.models.text.render import Rendered, Renderer


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One segment as a scorer's pass sees it.

    Parameters
    ----------
    segment
        Name within the scorer.
    text
        What was tokenised; of several rows, one after the other.
    token_ids
        Ids in order, row after row, an end token included only where the scorer counts it.
    response_mask
        Whether each id counts in the score.
    truncated
        Whether the text did not fit.
    failure
        Why this segment cannot be scored, or None.
    row_starts
        Where in ``token_ids`` each row starts; no row sees another.
    """

    segment: str
    text: str
    token_ids: tuple[int, ...]
    response_mask: tuple[bool, ...]
    truncated: bool = False
    failure: str | None = None
    row_starts: tuple[int, ...] = (0,)


def show(scorer: ForwardScorer, example: Example, renderer: Renderer) -> list[Shown]:
    """Return each segment of an example exactly as the scorer's pass sees it."""
    shown = []
    for segment in scorer.segments():
        try:
            text = "".join(renderer.texts(example, segment.rendering))
        except ExampleFailure as failure:
            shown.append(Shown(segment.name, "", (), (), failure=failure.reason))
            continue
        rendered = renderer.render([example], segment.rendering)[0]
        if isinstance(rendered, str):
            shown.append(Shown(segment.name, text, (), (), failure=rendered))
            continue
        ids, mask, starts = _marked(rendered, with_ends=scorer.score_end)
        shown.append(Shown(segment.name, text, ids, mask, rendered.truncated, row_starts=starts))
    return shown


def _marked(
    rendered: Rendered, *, with_ends: bool
) -> tuple[tuple[int, ...], tuple[bool, ...], tuple[int, ...]]:
    """Return ids, mask and starts of rows, with the end tokens that are targets only put in."""
    counts = np.ones(len(rendered.targets), bool) if with_ends else ~rendered.is_end
    ids: list[int] = []
    mask: list[bool] = []
    starts: list[int] = []
    for start, stop in rendered.edges:
        starts.append(len(ids))
        here = counts & (rendered.positions >= start) & (rendered.positions < stop)
        where = rendered.positions[here] + 1 - start
        row = rendered.ids[start:stop].tolist()
        if len(where) and where[-1] == len(row):
            row.append(int(rendered.targets[here][-1]))
        scored = np.zeros(len(row), dtype=bool)
        scored[where] = True
        ids += row
        mask += scored.tolist()
    return tuple(ids), tuple(mask), tuple(starts)
