"""A whole run by way of a URL, on the machine with the store: publish, score what nobody has, collect."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curate.contracts import PoolScorer
from curate.contracts.progress import Progress
from curate.scoring.options import ScoringOptions
from curate.scoring.remote.collect import collect
from curate.scoring.remote.publish import publish
from curate.scoring.remote.work import score_published
from curate.scoring.requests import ScoreRequest, with_inputs
from curate.scoring.slices import Slice
from curate.store.objects import Objects

if TYPE_CHECKING:
    from curate.store import Store


def exchange(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    asked: Mapping[str, Any],
    objects: Objects,
    progress: Progress,
) -> None:
    """Score shard by shard below a URL, beside slices if there are any, and copy all parts here.

    What sees the whole pool or a target set is left to the run that commits them.
    """
    shared = [
        request
        for request in with_inputs(requests)
        if not isinstance(request.scorer, PoolScorer) and not request.scorer.read_targets()
    ]
    if not shared:
        return
    publish(store, shared, options, asked, objects, progress)
    score_published(objects, asked, Slice(1, 1), options, progress)
    for note in collect(store, objects):
        progress.note(note)
