"""The tags in a model's reply, and tags that are the same but for their spelling."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from curate.models.text.said import answer_start

MAX_WORDS: Final = 6  # of a tag: what is longer is prose

_LIST: Final = re.compile(r"\[.*\]", re.DOTALL)
_NAMED: Final = re.compile(r"\btags\s*:", re.IGNORECASE)
_SEPARATOR: Final = re.compile(r"[,;\n]")
_BULLET: Final = re.compile(r"^\s*(?:[-*•#]+|\d+[.)])\s*")
_MARKS: Final = re.compile(r"[^\w+#]+|_+")


def read_tags(reply: str, *, ended: bool = True) -> list[str]:
    """Return the normalised tags of a reply, each once, in order; none for prose or an open thought.

    ``ended`` is false for a reply that was cut off, whose last tag may be the beginning of one.

    A JSON list of texts or of objects with a ``tag``, as InsTagger writes, or names separated by
    commas, semicolons or lines.

    Examples
    --------
    >>> read_tags('tags: Python, data_structures; "C++"'), read_tags("I am sorry, I cannot help with it.")
    (['python', 'data structures', 'c++'], [])
    """
    start = answer_start(reply)
    if start is None:
        return []
    text = reply[start:]
    if not ended:
        whole = list(_SEPARATOR.finditer(text))
        text = text[: whole[-1].start()] if whole else ""
    names = _from_json(text)
    if names is None:
        named = _NAMED.search(text)
        text = text[named.end() :] if named else text
        pieces = [_BULLET.sub("", piece) for piece in _SEPARATOR.split(text)]
        names = [piece for piece in pieces if piece.strip() and not piece.rstrip().endswith(":")]
        if any(_is_prose(piece) for piece in names):
            return []
    tags = dict.fromkeys(normalise(name) for name in names)
    return [tag for tag in tags if tag and len(tag.split()) <= MAX_WORDS]


def normalise(name: str) -> str:
    """Return a tag in lower case, words apart by one blank, no mark but + and # in it.

    Examples
    --------
    >>> normalise(" Natural-Language  Processing!"), normalise("C#")
    ('natural language processing', 'c#')
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    return _MARKS.sub(" ", text).strip()


def stem(tag: str) -> str:
    """Return what tags have in common that differ only in a plural, blanks or order of spelling.

    Examples
    --------
    >>> stem("data structures") == stem("datastructure"), stem("classes") == stem("class")
    (True, True)
    """
    return "".join(_singular(word) for word in tag.split())


def merge(tags: Iterable[Sequence[str]], min_count: int) -> list[list[str]]:
    """Return the tags of each example that at least ``min_count`` examples have, spelling by spelling merged.

    Tags of one stem become the most frequent of them, ties the first by alphabet.
    """
    listed = [list(of_one) for of_one in tags]
    spellings: Counter[str] = Counter(tag for of_one in listed for tag in set(of_one))
    examples: Counter[str] = Counter(s for of_one in listed for s in {stem(tag) for tag in of_one})
    chosen: dict[str, str] = {}
    for tag in sorted(spellings, key=lambda tag: (-spellings[tag], tag)):
        chosen.setdefault(stem(tag), tag)
    return [
        list(dict.fromkeys(chosen[s] for s in map(stem, of_one) if examples[s] >= min_count))
        for of_one in listed
    ]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _is_prose(piece: str) -> bool:
    words = piece.split()
    return len(words) > MAX_WORDS or words[0].casefold() in ("i", "i'm", "sorry", "as")


def _from_json(text: str) -> list[str] | None:
    match = _LIST.search(text)
    listed: Any = None
    if match:
        with suppress(ValueError, RecursionError):
            listed = json.loads(match[0])
    if not isinstance(listed, list):
        return None
    names = [item.get("tag") if isinstance(item, dict) else item for item in listed]
    return [name for name in names if isinstance(name, str)]
