"""What can be wrong with examples, as far as stored scores and failures tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from curate.errors import DataError
from curate.models.text.said import REASONING_NOT_RENDERED
from curate.store.grammar import Call, Literal_, Name, to_text
from curate.views.explore.session import Session

if TYPE_CHECKING:
    from curate.store.ids import Ids
    from curate.store.query.snapshot import Mask, Snapshot, Values

FENCE: Final = 3.0  # interquartile ranges beyond a quartile, Tukey's "far out"
FEWEST: Final = 20  # values from which quartiles say anything
_UNFINISHED: Final = "contains(response, '<think>') and not contains(response, '</think>')"
# Kind, and what would tell: the command that computes it.
KINDS: Final[dict[str, tuple[str, str]]] = {
    "near-duplicates": ("Near-duplicates", "curate score --scorer near_duplicate"),
    "contamination": (
        "Contamination", "curate score --scorer contamination --set contamination.files=BENCHMARK.jsonl",
    ),
    "likely-wrong": ("Likely wrong", "curate score --scorer ifd --model MODEL"),
    "truncated": ("Truncated", "curate score --scorer likelihood --model MODEL"),
    "lost-reasoning": ("Lost reasoning", "curate score --scorer likelihood --model MODEL"),
    "outliers": ("Outliers", "curate score --scorer knn --model MODEL"),
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Issue:
    """One way in which examples can be wrong.

    Parameters
    ----------
    key
        Its name in a query.
    kind
        One of `KINDS`.
    means
        What is the matter with its examples, in words.
    where
        The condition that holds for them; "" for those that failed with ``reason``.
    evidence
        Columns that say more about each of them.
    worst
        The column to sort by, the worst examples first; with a minus where low values are.
    """

    key: str
    kind: str
    means: str
    where: str = ""
    evidence: tuple[str, ...] = ()
    worst: str = ""
    reason: str = ""


def issues(session: Session, snapshot: "Snapshot") -> list[Issue]:
    """Return the issues that the stored scores can tell, in the order of `KINDS`."""

    def make() -> list[Issue]:
        found = [*_flagged(snapshot), *_reasoning(), *_outliers(snapshot)]
        return sorted(found, key=lambda issue: list(KINDS).index(issue.kind))

    return session.remembered("issues", make)


def issue_mask(session: Session, snapshot: "Snapshot", key: str) -> "Mask":
    """Return which rows have an issue, (n,); `DataError` for one that no score tells."""
    by_key = {issue.key: issue for issue in issues(session, snapshot)}
    if key not in by_key:
        raise DataError(f"no issue {key!r} in the store; known: {', '.join(by_key)}")
    issue = by_key[key]
    if issue.where:
        return session.remembered(("where", issue.where), lambda: snapshot.matching(issue.where))
    return session.remembered(("failed", key), lambda: _failed(session, snapshot, issue.reason))


def _flagged(snapshot: "Snapshot") -> Iterator[Issue]:
    """Yield the issues that a column of a score set says outright."""
    for alias, shape in snapshot.shapes.items():
        has = set(shape.columns)
        if {"is_copy", "representative", "similarity"} <= has:
            yield Issue(
                f"near-duplicates:{alias}", "near-duplicates",
                "copies of an example that stays, or nearly so", _of(alias, "is_copy"),
                (f"{alias}.similarity", f"{alias}.representative"), f"{alias}.similarity",
            )  # fmt: skip
        if {"passage", "file", "longest"} <= has:
            yield Issue(
                f"contamination:{alias}", "contamination",
                "have a run of words in common with a benchmark", _above(alias, "n", 0.0, ">"),
                (f"{alias}.passage", f"{alias}.file"), f"{alias}.longest",
            )  # fmt: skip
        if "ratio_loss" in has:
            yield Issue(
                f"likely-wrong:{alias}", "likely-wrong",
                "the question makes the answer no likelier", _above(alias, "ratio_loss", 1.0, ">="),
                (f"{alias}.ratio_loss",), f"{alias}.ratio_loss",
            )  # fmt: skip
        if {"correct", "found"} <= has:
            yield Issue(
                f"likely-wrong:{alias}", "likely-wrong", "a check of the answer says it is wrong",
                to_text(Call("not", (Name(f"{alias}.correct"),))), (f"{alias}.found",),
            )  # fmt: skip
        if {"confidence", "consistency", "reflection"} <= has:
            yield Issue(
                f"likely-wrong:{alias}", "likely-wrong",
                "the model is less than half sure of the answer",
                _above(alias, "confidence", 0.5, "<"), (f"{alias}.confidence",),
                f"-{alias}.confidence",
            )  # fmt: skip
        if "truncated" in has:
            yield Issue(
                f"truncated:{alias}",
                "truncated",
                f"did not fit the context when {alias} was computed",
                _of(alias, "truncated"),
            )


def _reasoning() -> Iterator[Issue]:
    yield Issue(
        "lost-reasoning:failed", "lost-reasoning",
        "could not be scored: the chat template leaves their reasoning out",
        reason=REASONING_NOT_RENDERED,
    )  # fmt: skip
    yield Issue(
        "lost-reasoning:open", "lost-reasoning",
        "the response opens <think> and never closes it", _UNFINISHED,
    )  # fmt: skip


def _outliers(snapshot: "Snapshot") -> Iterator[Issue]:
    """Yield columns with values far from all others: `FENCE` interquartile ranges or more."""
    for name, column in snapshot.columns.items():
        is_distance = column.column == "distance"
        if not (is_distance or column.column == "mean_logp" or name == "n_chars"):
            continue
        low, high = _fences(snapshot.values(name), is_log=name == "n_chars")
        if not is_distance and np.isfinite(low):
            what = "much shorter than usual" if name == "n_chars" else "much less likely than usual"
            yield Issue(
                f"outliers:{name}:low", "outliers", what, _compared(name, low, "<"), (name,),
                f"-{name}",
            )  # fmt: skip
        if column.column != "mean_logp" and np.isfinite(high):
            what = "much longer than usual" if name == "n_chars" else "far from all others"
            yield Issue(
                f"outliers:{name}:high", "outliers", what, _compared(name, high, ">"), (name,), name
            )


def _fences(values: "Values", *, is_log: bool) -> tuple[float, float]:
    """Return below and above which a value is far out, to three digits; NaN where nothing tells."""
    finite = values[np.isfinite(values)]
    if len(finite) < FEWEST:
        return np.nan, np.nan
    scaled = np.log(np.maximum(finite, 1.0)) if is_log else finite
    first, third = np.quantile(scaled, [0.25, 0.75])
    ends = np.array([first - FENCE * (third - first), third + FENCE * (third - first)])
    low, high = (np.exp(ends) if is_log else ends).tolist()
    return float(f"{low:.3g}"), float(f"{high:.3g}")


def _failed(session: Session, snapshot: "Snapshot", reason: str) -> "Mask":
    from curate.store.connection import literal
    from curate.store.ids import id_bytes

    rows = session.store.read(f"select distinct id from failures where reason = {literal(reason)}")
    mask = np.zeros(len(snapshot), dtype=bool)
    ids: Ids = id_bytes(rows["id"])
    places = snapshot.places(ids)
    mask[places[places >= 0]] = True
    return mask


def _of(alias: str, column: str) -> str:
    return to_text(Name(f"{alias}.{column}"))


def _above(alias: str, column: str, bound: float, comparison: str) -> str:
    return _compared(f"{alias}.{column}", bound, comparison)


def _compared(name: str, bound: float, comparison: str) -> str:
    return to_text(Call(comparison, (Name(name), Literal_(bound))))
