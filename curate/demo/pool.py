"""The built-in pool: several responders answer the same tasks, and every row says what is wrong with it."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from curate.demo.skills import PLAIN_WORDINGS, SKILLS, Task, draw_task

Style: TypeAlias = Literal["plain", "terse", "off-style"]

TASKS_PER_SKILL: Final = 64
TEST_TASKS_PER_SKILL: Final = 20
N_NEAR_DUPLICATE_TASKS: Final = 64
N_EXACT_DUPLICATES: Final = 64

_OPENERS: Final = (
    "Wow, what a fun little challenge!!",
    "Sure thing, my dear friend!!",
    "Ooh, I just love questions like this one ;)",
    "Hmm, okay, let us think step by step, shall we?",
)
_CLOSERS: Final = (
    "Hope this helps, have an awesome day!!!",
    "Feel free to reach out with anything else :)",
    "Isn't that simply amazing?!",
    "As always, please double-check before relying on me.",
)


@final
@dataclass(frozen=True, slots=True)
class Responder:
    """One author of responses.

    Parameters
    ----------
    wording
        How it words an answer, with the fields ``noun`` and ``answer``. An off-style responder
        puts chatter around it.
    wrong_share
        Share of its answers that are wrong, planted exactly. The four average 20%.
    """

    name: str
    style: Style
    wording: str
    wrong_share: float


RESPONDERS: Final = (
    Responder("careful", "plain", PLAIN_WORDINGS[0], 0.05),
    Responder("sloppy", "plain", PLAIN_WORDINGS[1], 0.35),
    Responder("terse", "terse", PLAIN_WORDINGS[2], 0.10),
    Responder("chatty", "off-style", PLAIN_WORDINGS[0], 0.30),
)


@final
@dataclass(frozen=True, slots=True)
class PoolRow:
    """One row of the pool with the truth about it.

    Parameters
    ----------
    source
        Family of the skill: arithmetic, text, list or lookup.
    answer
        The right answer, whatever the response says.
    is_correct
        Whether the response gives it.
    is_near_duplicate
        Whether the prompt is another row's prompt in other words; the response is that row's.
    duplicate_of
        Id of the row this one repeats, exactly or nearly; None for an original.
    """

    id: str
    source: str
    prompt: str
    response: str
    skill: str
    answer: str
    responder: str
    style: Style
    is_correct: bool
    is_near_duplicate: bool
    duplicate_of: str | None


def draw_split(seed: int = 0) -> tuple[list[Task], list[Task]]:
    """Return the tasks of the pool and of the test split; no two of them ask for the same."""
    taken: set[tuple[str, ...]] = set()
    pool = _distinct_tasks(random.Random(f"pool {seed}"), TASKS_PER_SKILL, taken)
    test = _distinct_tasks(random.Random(f"test {seed}"), TEST_TASKS_PER_SKILL, taken)
    return pool, test


def build_pool(seed: int = 0) -> list[PoolRow]:
    """Build the pool of a seed, the same on every machine.

    11 skills x 64 tasks x 4 responders, then every response to 64 of the tasks once more under a
    reworded prompt, and 64 rows once more as they are. An original comes before what repeats it.
    """
    tasks, _ = draw_split(seed)
    rng = random.Random(f"rows {seed}")
    slots = [(task, responder) for task in tasks for responder in RESPONDERS]
    near_tasks = set(rng.sample(range(len(tasks)), N_NEAR_DUPLICATE_TASKS))
    near = {s for s in range(len(slots)) if s // len(RESPONDERS) in near_tasks}
    exact = set(rng.sample(range(len(slots)), N_EXACT_DUPLICATES))
    wrong = _plant(rng, [1 + (s in near) + (s in exact) for s in range(len(slots))])
    rewordings = {task: _reworded(rng, tasks[task]) for task in sorted(near_tasks)}
    placed: list[tuple[float, PoolRow]] = []
    for slot, (task, responder) in enumerate(slots):
        original = _original(rng, slot, task, responder, slot not in wrong)
        place = rng.random()
        placed.append((place, original))
        copy = replace(original, id=f"copy of {original.id}", duplicate_of=original.id)
        if slot in near:
            prompt = rewordings[slot // len(RESPONDERS)]
            reworded = replace(copy, id=f"near {copy.id}", prompt=prompt, is_near_duplicate=True)
            placed.append((_after(place, rng), reworded))
        if slot in exact:
            placed.append((_after(place, rng), copy))
    return _numbered([row for _, row in sorted(placed, key=lambda item: item[0])])


def build_test_split(seed: int = 0) -> list[dict[str, str]]:
    """Build held-out tasks, each with its gold response in plain style."""
    return [
        {
            "id": f"test-{number:05d}",
            "source": task.skill.family,
            "prompt": task.prompt,
            "response": task.say(task.answer, PLAIN_WORDINGS[0]),
            "skill": task.skill.name,
            "answer": task.answer,
        }
        for number, task in enumerate(draw_split(seed)[1])
    ]


def write_pool(path: Path, seed: int = 0) -> list[PoolRow]:
    """Write the pool of a seed as JSONL, one `PoolRow` a line, and return its rows."""
    rows = build_pool(seed)
    _write_jsonl(path, (asdict(row) for row in rows))
    return rows


def write_test_split(path: Path, seed: int = 0) -> list[dict[str, str]]:
    """Write the test split of a seed as JSONL, and return its rows."""
    rows = build_test_split(seed)
    _write_jsonl(path, rows)
    return rows


def _distinct_tasks(rng: random.Random, n: int, taken: set[tuple[str, ...]]) -> list[Task]:
    tasks: list[Task] = []
    for skill in SKILLS.values():
        wanted = len(tasks) + n
        while len(tasks) < wanted:
            task = draw_task(skill, rng)
            if task.content not in taken:
                taken.add(task.content)
                tasks.append(task)
    return tasks


def _plant(rng: random.Random, multiplicity: Sequence[int]) -> set[int]:
    """Choose the slots with a wrong answer, so that each responder's share of rows comes out."""
    wrong: set[int] = set()
    for number, responder in enumerate(RESPONDERS):
        own = list(range(number, len(multiplicity), len(RESPONDERS)))
        left = round(responder.wrong_share * sum(multiplicity[slot] for slot in own))
        rng.shuffle(own)
        for slot in own:
            if multiplicity[slot] <= left:
                wrong.add(slot)
                left -= multiplicity[slot]
    return wrong


def _original(
    rng: random.Random, slot: int, task: Task, responder: Responder, is_correct: bool
) -> PoolRow:
    answer = task.answer if is_correct else task.wrong_answer
    response = task.say(answer, responder.wording)
    if responder.style == "off-style":
        response = f"{rng.choice(_OPENERS)} {response} {rng.choice(_CLOSERS)}"
    return PoolRow(
        id=f"original {slot}",
        source=task.skill.family,
        prompt=task.prompt,
        response=response,
        skill=task.skill.name,
        answer=task.answer,
        responder=responder.name,
        style=responder.style,
        is_correct=is_correct,
        is_near_duplicate=False,
        duplicate_of=None,
    )


def _reworded(rng: random.Random, task: Task) -> str:
    """Ask for the same in other words, or with other spacing or punctuation."""
    change = rng.choice(("rephrased", "spaced", "marked"))
    if change == "rephrased":
        other = (task.phrasing + 1) % len(task.skill.phrasings)
        return replace(task, phrasing=other).prompt
    if change == "spaced":
        return task.prompt.replace(" ", "  ", 1) + "\n"
    return f"Task: {task.prompt}"


def _after(place: float, rng: random.Random) -> float:
    return place + (1.0 - place) * rng.random()


def _numbered(rows: Sequence[PoolRow]) -> list[PoolRow]:
    ids: Mapping[str, str] = {row.id: f"demo-{n:05d}" for n, row in enumerate(rows)}
    return [
        replace(row, id=ids[row.id], duplicate_of=row.duplicate_of and ids[row.duplicate_of])
        for row in rows
    ]


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
