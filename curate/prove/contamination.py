"""Whether the target is in the pool: the same examples, the same prompts, or 13 words in a row."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.algorithms.shared_runs import RunIndex
from curate.algorithms.words import N_GRAM, spelled, words_of
from curate.errors import DataError

if TYPE_CHECKING:
    from curate.prove.targets import Target
    from curate.store import Store

TOLERATED: Final = 0.01
READ_ROWS: Final = 4_096
SHOWN: Final = 4  # examples kept of each kind of overlap
TEXT_CHARS: Final = 200  # kept of their texts

SAME_EXAMPLE: Final = "the whole example"
SAME_PROMPT: Final = "the prompt"
SAME_WORDS: Final = f"{N_GRAM} words in a row"


@final
@dataclass(frozen=True, slots=True)
class SharedExample:
    """An example of the pool and one of the target that overlap.

    Parameters
    ----------
    what
        What they share: the whole example, the prompt, or 13 words in a row.
    passage
        Those words, in lower case; "" for the other kinds.
    pool_id, pool_text, target_text
        The example of the pool, and the beginnings of both prompts.
    """

    what: str
    passage: str
    pool_id: str
    pool_text: str
    target_text: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields, for the record of a proof."""
        return asdict(self)


@final
@dataclass(frozen=True, slots=True)
class Overlap:
    """What a target shares with the pool, counted in examples of the target.

    Parameters
    ----------
    target, n_examples
        Name and size of the target.
    same_example, same_prompt, same_words
        Ids of the examples that are in the pool; whose prompt is, up to case and blanks; that
        share 13 words in a row with an example of the pool. Each set includes the previous one.
    in_pool
        Ids of the pool's examples that overlap with the target in any of these ways.
    shared
        A few of them, each with one it overlaps with, those that share most first.
    """

    target: str
    n_examples: int
    same_example: frozenset[str]
    same_prompt: frozenset[str]
    same_words: frozenset[str]
    in_pool: frozenset[str] = frozenset()
    shared: tuple[SharedExample, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """Return every example with an overlap of any kind."""
        return self.same_example | self.same_prompt | self.same_words

    def as_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "n_examples": self.n_examples,
            "same_example": len(self.same_example),
            "same_prompt": len(self.same_prompt),
            "same_13_words": len(self.same_words),
            "any": len(self.ids),
        }

    def describe(self) -> str:
        """Describe the counts in words."""
        return (
            f"{len(self.ids)} of {self.n_examples} examples of target {self.target!r} overlap with "
            f"the pool: {len(self.same_example)} are in it, {len(self.same_prompt)} share a "
            f"prompt with it, {len(self.same_words)} share {N_GRAM} words in a row with it"
        )

    @property
    def is_small(self) -> bool:
        """Whether only a few runs of 13 words are shared: by at most 1% of the target.

        Unrelated texts of one kind share such phrases, so these examples can be left out; shared
        examples or prompts, or more phrases than that, mean that the two sets overlap.
        """
        exact = self.same_example | self.same_prompt
        return not exact and len(self.ids) <= TOLERATED * self.n_examples

    def refuse(self) -> None:
        """Raise `DataError` with the counts if more overlaps than chance explains."""
        if not self.is_small:
            raise DataError(
                f"{self.describe()}; training on the target proves nothing; leave these target "
                "examples out with --drop-overlap, or accept them with --allow-overlap"
            )


def find_overlap(
    store: "Store", target: "Target", datasets: Sequence[str] | None = None
) -> Overlap:
    """Compare a target with every example of the pool.

    O(words) time; memory for the target's words and one block of the pool.
    """
    import pyarrow.parquet as pq

    ids = [row.id for row in target.rows]
    by_id = set(ids)
    by_prompt = _by_text(
        (_folded(prompt), example_id) for (prompt, _), example_id in _zip(target.texts, ids)
    )
    texts = words_of([f"{prompt}\n{response}" for prompt, response in target.texts])
    index = RunIndex.of([texts], N_GRAM, most_places=None)
    same_example: set[str] = set()
    same_prompt: set[str] = set()
    in_pool: set[str] = set()
    shown = _Shown(target)
    seen = np.zeros(len(index.hashes), dtype=bool)
    for shard in store.shards(datasets):
        file = pq.ParquetFile(shard.path)
        for batch in file.iter_batches(READ_ROWS, columns=["id", "prompt", "response"]):
            rows = batch.to_pylist()
            same_example |= by_id & {row["id"] for row in rows}
            for row in rows:
                prompts = by_prompt.get(_folded(row["prompt"] or ""), set())
                same_prompt |= prompts
                if prompts or row["id"] in by_id:
                    in_pool.add(row["id"])
                    shown.add_same(row, prompts)
            words = words_of([f"{row['prompt']}\n{row['response']}" for row in rows])
            runs, of, first = words.runs_at(N_GRAM)
            numbers = index.find(runs)
            hits = np.flatnonzero(numbers >= 0)
            seen[numbers[hits]] = True
            of_row, hit = np.unique(of[hits], return_index=True)
            in_pool |= {rows[at]["id"] for at in of_row.tolist()}
            for at, run in zip(of_row.tolist(), hits[hit].tolist(), strict=True):
                owner = int(index.owners[index.starts[numbers[run]]])
                shown.add_words(rows[at], int(first[run]), owner)
    shared = {ids[owner] for owner in index.owners_with(seen).tolist()}
    return Overlap(
        target.name, len(ids), frozenset(same_example), frozenset(same_prompt), frozenset(shared),
        frozenset(in_pool), shown.all(),
    )  # fmt: skip


@final
class _Shown:
    """Keeps the first examples of each kind of overlap."""

    def __init__(self, target: "Target") -> None:
        self._prompts = [prompt for prompt, _ in target.texts]
        self._place = {row.id: k for k, row in enumerate(target.rows)}
        self._kept: dict[str, list[SharedExample]] = {
            SAME_EXAMPLE: [], SAME_PROMPT: [], SAME_WORDS: [],
        }  # fmt: skip
        self._ids: set[str] = set()

    def add_same(self, row: Mapping[str, Any], prompts: Collection[str]) -> None:
        """Keep an example that is in the target, or whose prompt is."""
        is_same = row["id"] in self._place
        place = self._place[row["id"] if is_same else min(prompts)]
        self._keep(SAME_EXAMPLE if is_same else SAME_PROMPT, row, place)

    def add_words(self, row: Mapping[str, Any], first: int, place: int) -> None:
        """Keep an example that shares words, of which ``first`` is the first in it."""
        if len(self._kept[SAME_WORDS]) < SHOWN:
            words = spelled(f"{row['prompt']}\n{row['response']}")[first : first + N_GRAM]
            self._keep(SAME_WORDS, row, place, " ".join(words))

    def all(self) -> tuple[SharedExample, ...]:
        """Return what was kept, those that share most first."""
        return tuple(shared for kind in self._kept.values() for shared in kind)

    def _keep(self, what: str, row: Mapping[str, Any], place: int, passage: str = "") -> None:
        if len(self._kept[what]) == SHOWN or row["id"] in self._ids:
            return
        self._ids.add(row["id"])
        texts = (row["prompt"] or "")[:TEXT_CHARS], self._prompts[place][:TEXT_CHARS]
        self._kept[what].append(SharedExample(what, passage, row["id"], *texts))


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def _by_text(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    by_text: dict[str, set[str]] = {}
    for text, example_id in pairs:
        if text:
            by_text.setdefault(text, set()).add(example_id)
    return by_text


def _zip(
    texts: Sequence[tuple[str, str]], ids: Sequence[str]
) -> Iterator[tuple[tuple[str, str], str]]:
    return zip(texts, ids, strict=True)
