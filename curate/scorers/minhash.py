"""The words of a text in a few numbers, by which near-duplicates find each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.algorithms.minhash import band_hashes, bands_and_rows, shingles_of, signatures
from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError
from curate.models.classifiers.text_model import make_each
from curate.models.text.templates import Part, part_of
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class MinHashOf(RowScorer):
    """MinHash of the runs of words of a text, cut into bands: what `near_duplicate` looks copies up by.

    Computed along with `near_duplicate`, which explains the settings; a score set of its own, so
    that after an append only new examples are hashed. Two examples with one band in common are
    candidates. Signatures are those of datasketch [1]_. No model; O(characters + runs num_perm).

    Parameters
    ----------
    part
        ``full``: the whole conversation. ``prompt``: what comes before the last turn. ``response``:
        the last turn.
    ngram
        Words in a run.
    threshold
        Overlap from which two examples should be candidates.
    num_perm
        Permutations.

    References
    ----------
    .. [1] Zhu, datasketch: Big Data Looks Small, https://github.com/ekzhu/datasketch
    """

    name: ClassVar[str] = "minhash"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "bands": Column("ints", "one hash per band; examples that share one are candidates"),
    }
    part: Part = "full"
    ngram: int = 5
    threshold: float = 0.8
    num_perm: int = 128

    def __post_init__(self) -> None:
        check_settings(self.name, self.ngram, self.threshold, self.num_perm)

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        n_bands, n_rows = bands_and_rows(self.threshold, self.num_perm)

        def text(example: Example) -> str:
            return part_of(example, self.part)

        def hash_all(examples: Sequence[Example]) -> Columns:
            texts, places, reasons = make_each(examples, text)
            bands = np.zeros((len(examples), n_bands), dtype=np.int32)
            if texts:
                shingles = shingles_of(texts, self.ngram)
                bands[places] = band_hashes(signatures(shingles, self.num_perm), n_bands, n_rows)
            rows = np.empty(len(examples), dtype=object)
            rows[:] = list(bands)
            return {"bands": rows, FAILURE: np.array(reasons, dtype=object)}

        return hash_all


def check_settings(scorer: str, ngram: int, threshold: float, num_perm: int) -> None:
    """Raise `ConfigError` for settings of near-duplicates that mean nothing."""
    if ngram < 1:
        raise ConfigError(f"{scorer}.ngram counts words, at least 1, got {ngram}; try 5")
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"{scorer}.threshold={threshold:g} is an overlap, above 0 and at most 1; try 0.8"
        )
    if num_perm < 2:
        raise ConfigError(
            f"{scorer}.num_perm counts permutations, at least 2, got {num_perm}; try 128"
        )
