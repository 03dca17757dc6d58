"""Distinctive words: which words tell the texts of one group from those of all others."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]{3,30}")
FEWEST: Final = 2  # texts of its group a word must be in


def distinctive_words(
    texts: Sequence[str], groups: Sequence[int], n_groups: int, most: int = 3
) -> list[list[str]]:
    """Return for each group the words that set its texts apart, the most telling first.

    A word counts once a text. Its weight is the share of the group's texts that have it, times the
    logarithm of how many times larger that share is than among all texts; a word that is no more
    frequent in the group than elsewhere is not returned. Ties by word. A group of few texts, or of
    texts like all others, may have none. O(characters).

    Parameters
    ----------
    groups
        Of each text, 0 to ``n_groups`` - 1.
    most
        Words of a group.

    Examples
    --------
    >>> texts = ["the cat sat", "a cat ran", "the dog sat", "my dog ran"]
    >>> distinctive_words(texts, [0, 0, 1, 1], 2)
    [['cat'], ['dog']]
    """
    by_group = [Counter[str]() for _ in range(n_groups)]
    sizes = Counter(groups)
    everywhere = Counter[str]()
    for text, group in zip(texts, groups, strict=True):
        words = set(_WORD.findall(text.lower()))
        by_group[group].update(words)
        everywhere.update(words)
    found = []
    for group, counts in enumerate(by_group):
        weights = {
            word: n / sizes[group] * math.log(n * len(texts) / (sizes[group] * everywhere[word]))
            for word, n in counts.items()
            if n >= FEWEST
        }
        best = sorted((-weight, word) for word, weight in weights.items() if weight > 0)
        found.append([word for _, word in best[:most]])
    return found
