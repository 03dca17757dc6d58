"""What a text is made of: length, letters, repetition, code, and phrases that say little."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError
from curate.models.classifiers.text_model import make_each
from curate.models.text.templates import Part, part_of
from curate.registry import register

REFUSALS: Final = (
    "i cannot assist", "i can't assist", "i cannot help with", "i can't help with",
    "i'm sorry but i can't", "i'm sorry but i cannot", "i am unable to", "i'm unable to",
    "i am not able to", "i'm not able to", "i cannot fulfill", "i can't fulfill",
    "i cannot provide", "i can't provide", "i cannot comply", "i can't comply",
    "i must decline", "i won't be able to", "i cannot answer", "i can't answer",
)  # fmt: skip
BOILERPLATE: Final = (
    "as an ai language model", "as a language model", "as an ai", "as an artificial intelligence",
    "i hope this helps", "i hope that helps", "let me know if you", "feel free to ask",
    "is there anything else", "happy to help", "great question", "it is important to note",
    "it's important to note", "click here", "all rights reserved", "subscribe to our newsletter",
    "terms of use", "cookie policy", "lorem ipsum",
)  # fmt: skip

_WORD: Final = re.compile(r"\w+")
_MARKS: Final = re.compile(r"[^\w']+")
_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_CODE_LINE: Final = re.compile(  # of a line without blanks at its ends; each form takes linear time
    r"import \w|from \w[\w.]*+ import |#include\b|def \w++\(|class \w++[(:]|return\b.*[;)\]]$"
    r"|(?:if|elif|for|while|with|try|else|except)\b.*:$|(?:if|for|while|switch)\s*+\(.*\{$"
    r"|(?:public|private|static|const|let|var|function|func|fn)\s++\w|</?\w[^<>]*+>$"
    r"|(?i:select\b.+\bfrom\b|create table\b|insert into\b)|[\w.\[\]]++\s*+[-+*/]=\s*+\S"
    r"|.*[;{}]$"
)


@register
@final
@dataclass(frozen=True)
class TextStats(RowScorer):
    """Length, letters, repetition, code share, and refusal and boilerplate phrases of a text.

    Columns to filter by, as in ``--where "text_stats.refusals == 0"``; none of them is a score of
    quality. A line repeats if an earlier line is equal up to blanks at its ends; a run of words
    repeats if an earlier one has the same words, without case. Code is what stands in fenced
    blocks, and outside them each line that looks like a statement: it ends in a brace or a
    semicolon, or begins as an import, a definition, a tag or a query does; ``x = 3`` is as often
    maths and is not. Phrases are found as whole words without case, punctuation being blank, and
    none inside another; the two lists are settings, so that they are shown here, are part of the
    key, and can be replaced. A share of nothing is 0. No model; O(characters).

    Parameters
    ----------
    part
        ``response``: the last turn. ``prompt``: the turns before it. ``full``: both, one after the
        other.
    ngram
        Words in a run whose repetition is counted, at least 1.
    refusal_phrases
        Phrases with which assistants refuse, in English.
    boilerplate_phrases
        Phrases of assistants and web pages that say nothing, in English.

    Examples
    --------
    >>> repetition(["a", "b", "a", "b", "a", "b"], n=2)
    0.6
    """

    name: ClassVar[str] = "text_stats"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "n_chars": Column("int", "characters"),
        "n_words": Column("int", "words: runs of letters, digits and underscores"),
        "n_lines": Column("int", "lines that are not blank"),
        "alphabetic": Column("float", "letters among the characters that are not blank, 0 to 1"),
        "repeated_lines": Column("float", "lines that repeat an earlier one, 0 to 1"),
        "repeated_ngrams": Column("float", "runs of words that repeat an earlier one, 0 to 1"),
        "code": Column("float", "characters in fenced blocks and lines of code, 0 to 1"),
        "refusals": Column("int", "refusal phrases"),
        "boilerplate": Column("int", "boilerplate phrases"),
    }
    part: Part = "response"
    ngram: int = 4
    refusal_phrases: tuple[str, ...] = REFUSALS
    boilerplate_phrases: tuple[str, ...] = BOILERPLATE

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise ConfigError(f"text_stats.ngram counts words, at least 1, got {self.ngram}; try 4")
        for name in ("refusal_phrases", "boilerplate_phrases"):
            for phrase in getattr(self, name):
                if not _plain(phrase).strip():
                    raise ConfigError(
                        f"text_stats.{name} has {phrase!r}, which holds no word; leave it out"
                    )

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        refusals = phrase_pattern(self.refusal_phrases)
        boilerplate = phrase_pattern(self.boilerplate_phrases)

        def stats(example: Example) -> dict[str, Any]:
            text = part_of(example, self.part)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            words = _WORD.findall(text.lower())
            dense = "".join(text.split())
            plain = _plain(text)
            return {
                "n_chars": len(text),
                "n_words": len(words),
                "n_lines": len(lines),
                "alphabetic": sum(map(str.isalpha, dense)) / max(len(dense), 1),
                "repeated_lines": repetition(lines, n=1),
                "repeated_ngrams": repetition(words, n=self.ngram),
                "code": code_share(text),
                "refusals": count_phrases(refusals, plain),
                "boilerplate": count_phrases(boilerplate, plain),
            }

        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, stats)
            columns: dict[str, np.ndarray[Any, Any]] = {}
            for name, column in self.outputs.items():
                columns[name] = np.zeros(
                    len(examples), dtype=int if column.dtype == "int" else float
                )
                columns[name][places] = [figures[name] for figures in made]
            return {**columns, FAILURE: np.array(reasons, dtype=object)}

        return score


def repetition(items: Sequence[str], n: int) -> float:
    """Return the share of runs of n items that repeat an earlier run; 0 for fewer than n items."""
    runs = [tuple(items[at : at + n]) for at in range(len(items) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def code_share(text: str) -> float:
    """Return the share of the characters in fenced blocks and in lines that look like code.

    Line ends and fences count as neither; a fence that is not closed reaches to the end.
    """
    code = total = 0
    inside = False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
            continue
        stripped = line.strip()
        total += len(stripped)
        if inside or _CODE_LINE.match(stripped):
            code += len(stripped)
    return code / total if total else 0.0


def phrase_pattern(phrases: Sequence[str]) -> re.Pattern[str] | None:
    """Compile phrases for `count_phrases`: whole words, the longer of two that begin alike first."""
    plain = sorted({_plain(phrase).strip() for phrase in phrases}, key=len, reverse=True)
    return re.compile(f"(?<= )(?:{'|'.join(map(re.escape, plain))})(?= )") if plain else None


def count_phrases(pattern: re.Pattern[str] | None, plain: str) -> int:
    """Count the phrases in a text of plain words; what one phrase covers is no part of the next."""
    return 0 if pattern is None else sum(1 for _ in pattern.finditer(plain))


def _plain(text: str) -> str:
    """Return lower-case words with one blank around each; apostrophes stay."""
    return f" {_MARKS.sub(' ', text.lower().replace('’', chr(39))).strip()} "
