"""Responses gathered from models: the rows they enter the pool as, and where each came from."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import Example
from curate.contracts.conversation import TEMPLATE_ARGUMENTS

if TYPE_CHECKING:
    from curate.store import Store

FOLDER: Final = "gathered"  # of the parts: the files that are read into the pool
COLUMN: Final = "gathered"  # of their rows: where a response came from


@final
@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a gathered response came from.

    Parameters
    ----------
    model, revision
        The model, and its revision on the hub or None.
    served_model
        What a server called it, or "".
    k, temperature, max_new_tokens, seed, template
        How answers were sampled.
    prompt_of
        Id of the example whose prompt was asked.
    sample
        Which of the ``k`` answers it is, from 0.
    n_equal
        How many of the ``k`` have this very text.
    n_tokens
        Its tokens, with the end.
    verifier
        What checked it, or "".
    verdict
        ``right``, ``wrong`` or ``undecided: WHY``; "" without a verifier.
    """

    model: str
    revision: str | None
    served_model: str
    k: int
    temperature: float
    max_new_tokens: int
    seed: int
    template: str
    prompt_of: str = ""
    sample: int = 0
    n_equal: int = 1
    n_tokens: int = 0
    verifier: str = ""
    verdict: str = ""


@final
@dataclass(frozen=True, slots=True)
class Answers:
    """The sampled answers to one prompt: texts, their tokens, and verdicts or nothing."""

    texts: Sequence[str]
    n_tokens: Sequence[int]
    verdicts: Sequence[str] = ()


def rows_of(
    example: Example, answers: Answers, origin: Provenance, source: str, *, only_right: bool
) -> Iterator[dict[str, Any]]:
    """Yield a row for each distinct answer that is not blank, in the order they were sampled.

    ``only_right`` leaves out the others. What scorers read of the example's own row goes along.
    """
    counts = Counter(answers.texts)
    history = [dict(message) for message in example.messages[:-1]]
    arguments = history[0].pop(TEMPLATE_ARGUMENTS, None) if history else None
    seen: set[str] = set()
    for number, text in enumerate(answers.texts):
        verdict = answers.verdicts[number] if answers.verdicts else ""
        if not text.strip() or text in seen or (only_right and verdict != "right"):
            continue
        seen.add(text)
        row: dict[str, Any] = {"messages": [*history, {"role": "assistant", "content": text}]}
        if example.tools:
            row["tools"] = example.tools
        if arguments:
            row[TEMPLATE_ARGUMENTS] = arguments
        one = {
            **asdict(origin),
            "prompt_of": example.id,
            "sample": number,
            "n_equal": counts[text],
            "n_tokens": int(answers.n_tokens[number]),
            "verdict": verdict,
        }
        row = {**row, "source": source, COLUMN: one}
        for column, value in example.row.items():
            row = _with_column(row, column, value)
        yield row


def _with_column(row: dict[str, Any], column: str, value: str) -> dict[str, Any]:
    """Return a row with a column where scorers look for it, such as ``meta.answer``."""
    *outer, last = column.split(".")
    at = row
    for step in outer:
        at = at.setdefault(step, {})
    at[last] = value
    return row


def origins(store: "Store", rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return where the gathered ones among the rows of an example came from.

    ``rows`` have ``dataset`` and ``position``.
    """
    folder = (store.parts / FOLDER).resolve()
    gathered = {
        dataset.dataset_id
        for dataset in store.datasets()
        if any(Path(file).parent == folder for file in dataset.extra.get("files", ()))
    }
    found = []
    for row in rows:
        if row["dataset"] in gathered:
            [record] = store.raw_records(row["dataset"], [row["position"]])["record"].to_pylist()
            found.append({"dataset": row["dataset"], **json.loads(record)[COLUMN]})
    return found
