"""Which examples nearly repeat another one of the pool."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Int

from curate.algorithms.minhash import Shingles, join, shingles_of
from curate.algorithms.near_duplicates import find_copies
from curate.contracts import Column, Columns, Need, PoolScorer, Role, View
from curate.models.text.templates import Part, text_of_part
from curate.registry import register
from curate.scorers.minhash import check_settings


@register
@final
@dataclass(frozen=True)
class NearDuplicate(PoolScorer):
    """Examples whose words nearly repeat those of another one: ``--where "not near_duplicate.is_copy"``.

    The overlap of two examples is the Jaccard index of their sets of runs of 5 words, without case,
    punctuation and blanks. Candidates are found by MinHash, with datasketch's permutations [1]_ and
    bands [2]_, and each is then measured exactly: what is called a copy reaches the threshold. At
    0.8, bands find about 95% of the pairs with an overlap of just 0.8, and 99% of those with 0.85.

    Examples are gone through in order of id. One that is similar to an earlier example that is no copy is
    a copy of it, of the most similar one if there are several; so leaving out every copy leaves no example
    without one like it. Texts of fewer words than a run are one run; those without blanks
    between words (Chinese, Japanese, Thai) count by the character.

    After an append only new examples are hashed (see `minhash`), and hashes are compared by
    sorting. O(n log n), and one step in Python per example that shares a band with another one;
    the words of these alone are held in memory. See `curate.algorithms.near_duplicates` for what
    bounds the work on many examples of one template.

    Parameters
    ----------
    part
        What is compared. ``full``: the whole conversation. ``prompt``: what comes before the last
        turn. ``response``: the last turn.
    ngram
        Words in a run.
    threshold
        Overlap from which an example is a copy.
    num_perm
        Permutations of MinHash; more find more of the pairs just above the threshold.

    References
    ----------
    .. [1] Broder, On the resemblance and containment of documents, Compression and Complexity of
       Sequences, 1997.
    .. [2] Zhu, datasketch: Big Data Looks Small, https://github.com/ekzhu/datasketch

    Examples
    --------
    >>> NearDuplicate(threshold=0.9).requires()["minhash"].config["threshold"]
    0.9
    """

    name: ClassVar[str] = "near_duplicate"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "is_copy": Column("bool", "whether it is a copy of its representative"),
        "cluster": Column("int", "number of the representative, from 0; copies share it"),
        "size": Column("int", "examples of its cluster, itself included"),
        "representative": Column("text", "id of the example it is a copy of, or its own"),
        "similarity": Column("float", "exact overlap with the representative, 0 to 1"),
    }
    part: Part = "full"
    ngram: int = 5
    threshold: float = 0.8
    num_perm: int = 128

    def __post_init__(self) -> None:
        check_settings(self.name, self.ngram, self.threshold, self.num_perm)

    def requires(self) -> Mapping[str, Need]:
        return {"minhash": Need("minhash", config=asdict(self))}

    def run(self, view: View, device: str) -> Columns:
        def shingles(rows: Int[np.ndarray, " k"]) -> Shingles:
            blocks = []
            places = []
            for at, prompts, responses in view.texts_of(rows):
                pairs = zip(prompts, responses, strict=True)
                texts = [text_of_part(prompt, response, self.part) for prompt, response in pairs]
                blocks.append(shingles_of(texts, self.ngram))
                places.append(at)
            return join(blocks).take(np.argsort(np.concatenate(places)))

        bands = view.matrix("minhash.bands").astype(np.int32)
        copies = find_copies(bands, shingles, self.threshold)
        return cluster_columns(view, copies.representative, copies.similarity)


def cluster_columns(
    view: View, representative: Int[np.ndarray, " n"], similarity: np.ndarray
) -> Columns:
    """Return the columns of clusters of copies from the representative of each row of a view."""
    _, cluster, sizes = np.unique(representative, return_inverse=True, return_counts=True)
    return {
        "is_copy": representative != np.arange(len(view)),
        "cluster": cluster,
        "size": sizes[cluster],
        "representative": view.ids[representative].astype(str).astype(object),
        "similarity": similarity,
    }
