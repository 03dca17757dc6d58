"""What a pass would run over a shard: tokens, padding, requests, and what cannot be scored."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from curate.contracts import Rendering, RowScorer
from curate.errors import ExampleFailure
from curate.models.batch import padded_tokens, plan_batches
from curate.models.load import load_tokenizer
from curate.models.passes.prefixes import plan_shared
from curate.models.text.render import Rendered, Renderer
from curate.scoring.plan import Pass
from curate.scoring.windows import read_examples


@final
@dataclass(slots=True)
class Counts:
    """Sums over shards; ``failed`` counts examples that cannot be scored, by reason.

    ``rows`` is how many contexts the ``rendered`` renderings need; ``shared`` of the ``tokens`` need not
    run where the model can share what rows begin with.
    """

    tokens: int = 0
    padded: int = 0
    shared: int = 0
    truncated: int = 0
    rows: int = 0
    rendered: int = 0
    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        """Add what was counted in another shard."""
        for name in ("tokens", "padded", "shared", "truncated", "rows", "rendered", "requests"):
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
    ids: list[str] = []
    rendered: dict[Rendering, list[Rendered | str]] = {r: [] for r in pass_.renderings}
    for examples in read_examples(path):
        ids += [example.id for example in examples]
        for rendering, rows in rendered.items():
            rows += renderer.render(examples, rendering)
    counts = Counts()
    failed: dict[int, str] = {}
    for number, rows in enumerate(rendered.values()):
        for place, row in enumerate(rows):
            if isinstance(row, str):
                failed.setdefault(place, row)
                continue
            counts.rows, counts.rendered = counts.rows + len(row.starts), counts.rendered + 1
            counts.truncated += row.truncated and number == 0
        _count_batches(counts, pass_, rows, ids)
    counts.failed = Counter(failed.values())
    return counts


def _count_batches(
    counts: Counts, pass_: Pass, rows: Sequence[Rendered | str], ids: Sequence[str]
) -> None:
    """Add the tokens of one rendering, in the batches a model on a CPU runs if it can share prefixes."""
    lengths = np.array([0 if isinstance(row, str) else len(row.ids) for row in rows])
    counts.tokens += int(lengths.sum())
    if pass_.backend is not None:  # cuts batches of its own, without padding
        counts.padded += int(lengths.sum())
        return
    if pass_.share_prefixes:
        shared = plan_shared(rows, ids, pass_.batch_tokens)
        if shared.pays:
            counts.padded += shared.tokens
            counts.shared += shared.saved
            return
    alone = plan_batches(lengths, ids, pass_.alone_tokens or pass_.batch_tokens)
    counts.padded += padded_tokens(lengths, alone)
