"""What a pass would run over a shard: tokens, padding, requests, and what cannot be scored."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from curate.contracts import RowScorer
from curate.errors import ExampleFailure
from curate.models.batch import padded_tokens, plan_batches
from curate.models.load import load_tokenizer
from curate.models.text.render import Renderer
from curate.scoring.plan import Pass
from curate.scoring.windows import read_examples


@final
@dataclass(slots=True)
class Counts:
    """Sums over shards; ``failed`` counts examples that cannot be scored, by reason.

    ``rows`` is how many contexts the ``rendered`` renderings need.
    """

    tokens: int = 0
    padded: int = 0
    truncated: int = 0
    rows: int = 0
    rendered: int = 0
    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        """Add what was counted in another shard."""
        for name in ("tokens", "padded", "truncated", "rows", "rendered", "requests"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed += other.failed


def counter_of(pass_: Pass) -> Callable[[Path], Counts] | None:
    """Return a function that counts what a pass runs over a shard; None where that is not known."""
    if pass_.is_forward and pass_.model is not None:
        model = pass_.model
        renderer = Renderer(load_tokenizer(model.path), model.max_length, model.chat)
        return lambda path: _count_rendered(pass_, renderer, path)
    scorer = pass_.rides[0].scorer
    cost = scorer.costs(pass_.context("cpu")) if isinstance(scorer, RowScorer) else None
    if cost is None:
        return None

    def count(path: Path) -> Counts:
        counts = Counts()
        for examples in read_examples(path):
            for example in examples:
                try:
                    one = cost(example)
                except ExampleFailure as failure:
                    counts.failed[failure.reason] += 1
                    continue
                counts.tokens += one.tokens
                counts.requests += one.requests
        counts.padded = counts.tokens
        return counts

    return count


def _count_rendered(pass_: Pass, renderer: Renderer, path: Path) -> Counts:
    lengths: dict[int, list[int]] = {number: [] for number in range(len(pass_.renderings))}
    ids: list[str] = []
    failed: dict[int, str] = {}
    counts = Counts()
    for examples in read_examples(path):
        for number, rendering in enumerate(pass_.renderings):
            for place, row in enumerate(renderer.render(examples, rendering)):
                if isinstance(row, str):
                    lengths[number].append(0)
                    failed.setdefault(len(ids) + place, row)
                    continue
                lengths[number].append(len(row.ids))
                counts.rows, counts.rendered = counts.rows + len(row.starts), counts.rendered + 1
                counts.truncated += row.truncated and number == 0
        ids += [example.id for example in examples]
    for row_lengths in lengths.values():
        array = np.array(row_lengths)
        counts.tokens += int(array.sum())
        counts.padded += padded_tokens(array, plan_batches(array, ids, pass_.batch_tokens))
    counts.failed = Counter(failed.values())
    return counts
