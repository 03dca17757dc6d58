"""Okapi BM25 of the texts of a pool for the texts of a target set, from the numbers of their words."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.targeted import list_blocks


@final
@dataclass(frozen=True, eq=False)
class TargetBM25:
    """BM25 of every text of a pool for every text of a target set; see `by_turns`.

    The score of a text for a query is the sum over the query's words, each as often as it occurs in
    it, of ``idf * tf / (tf + k1 (1 - b + b length / mean length))`` with
    ``idf = log(1 + (n - df + 0.5) / (df + 0.5))``, as in Lucene.

    Parameters
    ----------
    documents
        Weight of each word of the target set in each text, sparse, (n, words).
    queries
        How often each word occurs in each text of the target set, sparse, (m, words).
    unknown
        Share of the words of the target set, each as often as it occurs, that no text has.
    """

    documents: Any
    queries: Any
    unknown: float

    @classmethod
    def of(
        cls,
        texts: tuple[Int[np.ndarray, " total"], Int[np.ndarray, " n"]],
        queries: tuple[Int[np.ndarray, " total_q"], Int[np.ndarray, " m"]],
        *,
        k1: float,
        b: float,
        together: bool = False,
    ) -> "TargetBM25":
        """Index texts by the words that queries have; O(words log words).

        Parameters
        ----------
        texts, queries
            Numbers of the words of all texts end to end, and the length of each text in words.
        together
            All queries as one.
        """
        from scipy.sparse import csr_matrix

        words = np.unique(queries[0])
        asked = _counts(*queries, words)
        held = _counts(*texts, words)
        n, lengths = len(texts[1]), texts[1]
        mean = lengths.mean() if n else 1.0
        df = np.bincount(held.indices, minlength=len(words))
        idf = np.log1p((n - df + 0.5) / (df + 0.5))
        relative = np.repeat(lengths, np.diff(held.indptr)) / mean
        saturated = held.data / (held.data + k1 * (1 - b + b * relative))
        weights = csr_matrix((idf[held.indices] * saturated, held.indices, held.indptr), held.shape)
        if together:
            asked = csr_matrix(asked.sum(axis=0))
        unknown = float(asked[:, df == 0].sum() / max(asked.sum(), 1))
        return cls(weights, asked, unknown)

    @property
    def n_rows(self) -> int:
        """Number of texts."""
        return int(self.documents.shape[0])

    @property
    def n_targets(self) -> int:
        """Number of queries."""
        return int(self.queries.shape[0])

    def block(
        self, rows: Int[np.ndarray, " b"], targets: Int[np.ndarray, " t"]
    ) -> Float[np.ndarray, "b t"]:
        """Return the scores of some texts for some queries, in double precision."""
        scores: Float[np.ndarray, "b t"] = (
            self.documents[rows] @ self.queries[targets].T.tocsr()
        ).toarray()
        return scores


def _counts(
    flat: Int[np.ndarray, " total"], lengths: Int[np.ndarray, " n"], words: Int[np.ndarray, " v"]
) -> Any:
    """Return how often each of some words occurs in each text, sparse, (n, v)."""
    from scipy.sparse import csr_matrix, vstack

    parts = [csr_matrix((0, len(words)))]
    for rows, numbers in list_blocks(lengths):
        here = flat[numbers]
        at = np.minimum(np.searchsorted(words, here), len(words) - 1)
        hits = words[at] == here
        text = np.repeat(np.arange(rows.stop - rows.start), lengths[rows])[hits]
        shape = (rows.stop - rows.start, len(words))
        counted = csr_matrix((np.ones(len(text)), (text, at[hits])), shape=shape)
        counted.sum_duplicates()
        parts.append(counted)
    return vstack(parts, format="csr")
