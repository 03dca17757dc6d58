"""Tasks whose answer can be checked: eleven small skills in four families, drawn at random."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

from curate.errors import ConfigError

Family: TypeAlias = Literal["arithmetic", "text", "list", "lookup"]
Draw: TypeAlias = Callable[[random.Random], "tuple[dict[str, str], str, str]"]

WORDS: Final = (
    "apple", "bell", "boat", "bread", "cloud", "coin", "desk", "door", "drum", "fish", "flag",
    "fox", "garden", "glass", "hat", "horse", "jar", "kite", "lamp", "leaf", "map", "moon", "nail",
    "owl", "paper", "pen", "plum", "rain", "ring", "river", "rope", "salt", "seed", "shell", "shoe",
    "snow", "spoon", "star", "stone", "table", "tree", "wolf",
)  # fmt: skip
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday")

PLAIN_WORDINGS: Final = ("The {noun} is {answer}.", "It is {answer}.", "{answer}")

_SENTENCE: Final = re.compile(r"\bThe [a-z ]+ is (.+?)\.(?=\s|$)|^It is (.+?)\.$", re.DOTALL)


@final
@dataclass(frozen=True, slots=True)
class Skill:
    """One kind of task.

    Parameters
    ----------
    name, family
        What it is called, and the family it belongs to, which is the pool's ``source``.
    noun
        What the answer is, as in ``The sum is 8.``
    phrasings
        Ways to ask, with named fields; all ask for the same.
    draw
        From a random generator to the fields of one task, its answer, and a plausible wrong one.
    """

    name: str
    family: Family
    noun: str
    phrasings: tuple[str, ...]
    draw: Draw


@final
@dataclass(frozen=True, slots=True)
class Task:
    """One question of one skill: how it is asked, its answer, and a wrong answer to plant.

    Parameters
    ----------
    phrasing
        Which of the skill's phrasings ``prompt`` uses.
    """

    skill: Skill
    fields: Mapping[str, str]
    answer: str
    wrong_answer: str
    phrasing: int

    @property
    def prompt(self) -> str:
        """The question as text."""
        return self.skill.phrasings[self.phrasing].format(**self.fields)

    @property
    def content(self) -> tuple[str, ...]:
        """What is asked, however it is worded: equal for two tasks that want the same work."""
        return (self.skill.name, *self.fields.values())

    def say(self, answer: str, wording: str) -> str:
        """Give an answer in one of `PLAIN_WORDINGS`, or in any text with the same two fields."""
        return wording.format(noun=self.skill.noun, answer=answer)


def draw_task(skill: Skill, rng: random.Random) -> Task:
    """Draw one task of a skill; the same generator state gives the same task on every machine."""
    fields, answer, wrong_answer = skill.draw(rng)
    return Task(skill, fields, answer, wrong_answer, rng.randrange(len(skill.phrasings)))


def extract_answer(skill: str, response: str) -> str:
    """Return what a response answers: the end of its plain sentence, or else all of it.

    Raises `ConfigError` for an unknown skill.

    Examples
    --------
    >>> extract_answer("add", "Happy to help! The sum is 8. Anything else?")
    '8'
    >>> extract_answer("reverse", "wolf, jar")
    'wolf, jar'
    """
    _known(skill)
    match = _SENTENCE.search(response)
    answer = response if match is None else match[match.lastindex or 0]
    return " ".join(answer.split())


def is_correct(skill: str, response: str, answer: str) -> bool:
    """Say whether a response gives the answer: numbers by value, lists in order, words by letter.

    Raises `ConfigError` for an unknown skill.
    """
    given = extract_answer(skill, response)
    if _known(skill).family == "arithmetic":
        return given.isdecimal() and int(given) == int(answer)
    return [item.strip() for item in given.split(",")] == [i.strip() for i in answer.split(",")]


def _known(skill: str) -> Skill:
    if skill not in SKILLS:
        raise ConfigError(f"no skill {skill!r} in the demo; choose one of: {', '.join(SKILLS)}")
    return SKILLS[skill]


def _near(number: int, rng: random.Random) -> str:
    below = [number - step for step in (1, 2, 3) if number >= step]
    return str(rng.choice([*below, number + 1, number + 2, number + 3]))


def _add(rng: random.Random) -> tuple[dict[str, str], str, str]:
    a, b = rng.randrange(10), rng.randrange(10)
    return {"a": str(a), "b": str(b)}, str(a + b), _near(a + b, rng)


def _after(rng: random.Random) -> tuple[dict[str, str], str, str]:
    a = rng.randrange(100)
    return {"a": str(a)}, str(a + 1), _near(a + 1, rng)


def _larger(rng: random.Random) -> tuple[dict[str, str], str, str]:
    a, b = rng.sample(range(10, 100), 2)
    return {"a": str(a), "b": str(b)}, str(max(a, b)), str(min(a, b))


def _copy(rng: random.Random) -> tuple[dict[str, str], str, str]:
    words = rng.sample(WORDS, rng.randrange(4, 9))
    wrong = words.copy()
    place = rng.randrange(len(words))
    wrong[place] = rng.choice([word for word in WORDS if word not in words])
    return {"words": " ".join(words)}, " ".join(words), " ".join(wrong)


def _capitals(rng: random.Random) -> tuple[dict[str, str], str, str]:
    words = rng.sample(WORDS, 3)
    return {"words": " ".join(words[:2])}, " ".join(words[:2]).upper(), words[2].upper()


def _count(rng: random.Random) -> tuple[dict[str, str], str, str]:
    words = rng.sample(WORDS, rng.randrange(2, 8))
    return {"words": " ".join(words)}, str(len(words)), _near(len(words), rng)


def _items(rng: random.Random) -> list[str]:
    return rng.sample(WORDS, rng.randrange(3, 5))


def _first(rng: random.Random) -> tuple[dict[str, str], str, str]:
    items = _items(rng)
    return {"items": ", ".join(items)}, items[0], rng.choice(items[1:])


def _last(rng: random.Random) -> tuple[dict[str, str], str, str]:
    items = _items(rng)
    return {"items": ", ".join(items)}, items[-1], rng.choice(items[:-1])


def _reverse(rng: random.Random) -> tuple[dict[str, str], str, str]:
    items = _items(rng)
    turned = items[::-1]
    wrong = turned.copy()
    place = rng.randrange(len(wrong) - 1)
    wrong[place], wrong[place + 1] = wrong[place + 1], wrong[place]
    return {"items": ", ".join(items)}, ", ".join(turned), ", ".join(wrong)


def _table(labels: Sequence[str], rng: random.Random) -> tuple[dict[str, str], str, str]:
    """Draw a table whose rows carry the first of the labels, in order, and ask for one row."""
    things = rng.sample(WORDS, rng.randrange(3, 5))
    rows = list(zip(labels, things, strict=False))
    (label, thing), (_, other) = rng.sample(rows, 2)
    return {"table": ", ".join(map(" ".join, rows)), "label": label}, thing, other


def _row(rng: random.Random) -> tuple[dict[str, str], str, str]:
    return _table("1234", rng)


def _day(rng: random.Random) -> tuple[dict[str, str], str, str]:
    return _table(DAYS, rng)


_ALL: Final = (
    Skill("add", "arithmetic", "sum", ("Add {a} and {b}.", "What is {a} plus {b}?"), _add),
    Skill(
        "after",
        "arithmetic",
        "next number",
        ("Which number comes after {a}?", "Count one further than {a}."),
        _after,
    ),
    Skill(
        "larger",
        "arithmetic",
        "larger number",
        ("Which number is larger, {a} or {b}?", "Give the larger of {a} and {b}."),
        _larger,
    ),
    Skill("copy", "text", "text", ("Repeat this text: {words}", "Write again: {words}"), _copy),
    Skill(
        "capitals",
        "text",
        "text in capitals",
        ("Write in capitals: {words}", "Turn into upper case: {words}"),
        _capitals,
    ),
    Skill(
        "count",
        "text",
        "number of words",
        ("How many words are here: {words}", "Count the words: {words}"),
        _count,
    ),
    Skill(
        "first",
        "list",
        "first item",
        ("Name the first item of this list: {items}", "Which item comes first: {items}"),
        _first,
    ),
    Skill(
        "last",
        "list",
        "last item",
        ("Name the last item of this list: {items}", "Which item comes last: {items}"),
        _last,
    ),
    Skill(
        "reverse",
        "list",
        "reversed list",
        ("Reverse this list: {items}", "Write this list backwards: {items}"),
        _reverse,
    ),
    Skill(
        "row",
        "lookup",
        "entry",
        ("What is in row {label} of the table: {table}", "Look up row {label} in: {table}"),
        _row,
    ),
    Skill(
        "day",
        "lookup",
        "entry",
        ("What is on {label} in the plan: {table}", "Look up {label} in: {table}"),
        _day,
    ),
)
SKILLS: Final[Mapping[str, Skill]] = {skill.name: skill for skill in _ALL}
