"""Searching the texts of the pool for words, best matches first.

DuckDB's full text search is an extension that must be downloaded, so this is our own search, which
needs no network and no index to keep up to date. It reads the text files once and does not touch
the database.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from curate.errors import ConfigError
from curate.store.connection import literal
from curate.store.ids import id_bytes
from curate.store.query.snapshot import Mask, Snapshot, Values

MAX_WORDS: Final = 16
_TERM: Final = re.compile(r'(-?)"([^"]+)"|(-?)([^\s"]+)')
_K1, _B = 1.2, 0.75  # the usual constants of BM25


def search(snapshot: Snapshot, query: str) -> tuple[Mask, Values]:
    """Find the examples whose prompt or last response contains every word, ignoring case.

    A word matches anywhere, also inside longer words. Words in double quotes are one phrase;
    those after a minus must not occur. An example whose id begins with the only word is found too.

    Parameters
    ----------
    query
        At most `MAX_WORDS` words and phrases.

    Returns
    -------
    Which rows match, (n,), and their BM25 relevance, (n,), 0 for the others; higher is better. The
    length in it is that of the text in characters. O(characters of the pool).

    References
    ----------
    .. [1] Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond,
       Foundations and Trends in Information Retrieval, 2009.
    """
    wanted, unwanted = terms(query)
    counts, lengths, at = _occurrences(snapshot, [*wanted, *unwanted])
    n = len(snapshot)
    matches = (counts[:, : len(wanted)] > 0).all(axis=1)
    matches &= (counts[:, len(wanted) :] == 0).all(axis=1)
    mask, relevance = np.zeros(n, dtype=bool), np.zeros(n)
    mask[at[matches]] = True
    occurrences = counts[matches, : len(wanted)].astype(float)
    frequency = (counts[:, : len(wanted)] > 0).sum(axis=0)
    rarity = np.log1p((n - frequency + 0.5) / (frequency + 0.5))
    mean = float(lengths.mean()) if len(lengths) else 1.0
    norm = _K1 * (1 - _B + _B * lengths[matches] / max(mean, 1.0))
    relevance[at[matches]] = (rarity * occurrences * (_K1 + 1) / (occurrences + norm[:, None])).sum(
        axis=1
    )
    if len(wanted) == 1 and not unwanted and re.fullmatch("[0-9a-f]{6,32}", wanted[0]):
        named = np.char.startswith(snapshot.ids, wanted[0].encode())
        mask |= named
        relevance[named] += 1e6
    return mask, relevance


def terms(query: str) -> tuple[list[str], list[str]]:
    """Return what must occur and what must not, in lower case; `ConfigError` if there is neither.

    Examples
    --------
    >>> terms('Red "two words" -blue')
    (['red', 'two words'], ['blue'])
    """
    wanted: list[str] = []
    unwanted: list[str] = []
    for minus, phrase, dash, word in _TERM.findall(query):
        (unwanted if minus or dash else wanted).append((phrase or word).strip().lower())
    wanted, unwanted = ([t for t in dict.fromkeys(group) if t] for group in (wanted, unwanted))
    if not wanted:
        raise ConfigError(
            f"the search {query!r} has no word that must occur; type a word, a phrase in double "
            "quotes, and -word for what must not occur"
        )
    if len(wanted) + len(unwanted) > MAX_WORDS:
        raise ConfigError(
            f"the search has {len(wanted) + len(unwanted)} words, but at most {MAX_WORDS} are "
            "searched for; put a phrase in double quotes"
        )
    if any("\0" in t or any("\ud800" <= c <= "\udfff" for c in t) for t in (*wanted, *unwanted)):
        raise ConfigError("the search contains a character that cannot be stored; remove it")
    return wanted, unwanted


def _occurrences(snapshot: Snapshot, words: Sequence[str]) -> tuple[Any, Values, Any]:
    """Return how often each word occurs, (m, words), lengths, (m,), and rows, (m,), of a first cut.

    The cut has every row in which any word occurs.
    """
    if not len(snapshot):
        return np.zeros((0, len(words)), dtype=int), np.zeros(0), np.zeros(0, dtype=int)
    counts = ", ".join(
        f"((length(t) - length(replace(t, {literal(w)}, ''))) / {len(w)})::integer as w{k}"
        for k, w in enumerate(words)
    )
    any_of = " or ".join(f"contains(t, {literal(w)})" for w in words)
    text = "lower(concat_ws(chr(10), prompt, response))"
    with snapshot.memory() as con:
        hits = con.sql(
            f"select id, length(t) as n, {counts} from (select id, {text} as t from "
            f"{snapshot.text_sql()}) where {any_of}"
        ).to_arrow_table()
    at = snapshot.places(id_bytes(hits["id"]))
    inside = at >= 0
    columns = [hits[f"w{k}"].to_numpy()[inside] for k in range(len(words))]
    lengths = hits["n"].to_numpy()[inside].astype(float)
    return np.stack(columns, axis=1), lengths, at[inside]
