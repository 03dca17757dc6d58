"""Why a stored selection does not include an example, and what would have had to change."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import numpy as np
from jaxtyping import Float

from curate.contracts import Selector, View
from curate.contracts.budget import Budget
from curate.errors import CurateError
from curate.registry import get_method
from curate.select.marks import METHOD, not_marked
from curate.select.procedures.correct.revise import why_dropped
from curate.select.rankings import Ranked, Rankings, StoredRanking
from curate.select.shares import SOURCE, value_of
from curate.store.results.selection_names import internal

if TYPE_CHECKING:
    from curate.store import Store

MAX_RANKED: Final = 5
Cause: TypeAlias = Literal[
    "ranked below", "filtered", "failed", "left out", "quota", "mix", "not in its pool",
    "not marked", "unknown",
]  # fmt: skip
_RECOMPUTING: Final = "recomputing the ranking from stored scores"


@final
@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why one selection does not include one example.

    Parameters
    ----------
    cause
        ``ranked below``: the method considered it and others came first. ``filtered``: by where,
        exclude or within. ``failed``: it has no score the method needs. ``left out``: the method
        itself did not consider it. ``quota``: its source, or value of a column, was full. ``mix``: so was its share. ``not in its pool``: not in
        the datasets selected from. ``not marked``: the selection is what a person marked by hand.
        ``unknown``: stored facts do not say.
    text
        The same in words, with what would have had to change if that is known.
    rank, n_ranked
        Place among all examples the method ranks, from 1, and their number.
    gain, last_gain
        Its gain, and that of the last example kept.
    needs
        The smallest budget with which the same run would include it.
    """

    selection_id: str
    method: str
    n_selected: int
    cause: Cause
    text: str
    rank: int | None = None
    n_ranked: int | None = None
    gain: float | None = None
    last_gain: float | None = None
    needs: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a plain dictionary."""
        return asdict(self)


def absences(
    store: "Store",
    document: Mapping[str, Any],
    selections: Sequence[str] = (),
    rankings: Rankings | None = None,
) -> list[Exclusion]:
    """Explain each stored selection that does not include an example, newest first.

    Marks made by hand, and selections that proofs and procedures made for themselves, are explained
    only if asked for.

    A place in the ranking requires recomputing the selection from stored scores. That is done
    for the selections asked for, or else for the newest `MAX_RANKED`, and costs as much as
    the selections themselves, without any scoring.

    Parameters
    ----------
    document
        The example, as `Store.example` returns it.
    selections
        Ids (or id prefixes) of the selections to explain; none for all.
    rankings
        What was computed for other examples of the same state of the store; it is added to.
    """
    known = Rankings() if rankings is None else rankings
    asked = [store.selection(name)["selection_id"] for name in selections]
    having = {selection["selection_id"] for selection in document["selections"]}
    lacking = [name for name in asked or _shown(store) if name not in having]
    return [
        _why_absent(store, document, known.of(store, name), ranked=bool(asked) or i < MAX_RANKED)
        for i, name in enumerate(lacking)
    ]


def _shown(store: "Store") -> list[str]:
    """Return the selections people asked for, marks left out, newest first."""
    with store.connect() as con:
        hidden = internal(con, store.parts)
    newest = store.read(
        f"select selection_id from selections where method <> '{METHOD}' "
        "order by created_at desc, 1"
    )
    return [name for name in newest["selection_id"].to_pylist() if name not in hidden]


def _why_absent(
    store: "Store", document: Mapping[str, Any], stored: StoredRanking, *, ranked: bool
) -> Exclusion:
    """Explain one selection that does not include an example; ``ranked``: recompute its ranking."""
    record, n = stored.record, stored.n_kept
    selection_id, name = record["selection_id"], record["method"]
    cause, text = _before_ranking(store, document, stored)
    if cause is None and not ranked:
        cause = "unknown"
        text = f"not ranked here; to rank it: curate explain {document['id']} --selection {selection_id}"
    if cause is not None:
        return Exclusion(selection_id, name, n, cause, text)
    try:
        return _by_rank(store, document, stored)
    except CurateError as error:
        text = f"unknown: {_RECOMPUTING} fails: {error}"
        return Exclusion(selection_id, name, n, "unknown", text)


def _before_ranking(
    store: "Store", document: Mapping[str, Any], stored: StoredRanking
) -> tuple[Cause | None, str]:
    """Return what can be told from the record alone, or no cause."""
    example, record = document["id"], stored.record
    if record["method"] == METHOD:
        return (
            "not marked",
            not_marked(record["config"]),
        )
    if "config" not in record or "score_sets" not in record:
        return "unknown", "unknown: its record does not say how it was made"
    mine = {row["dataset"] for row in document["rows"]}
    if not mine & set(record["datasets"]):
        return (
            "not in its pool",
            f"it is in none of the datasets selected from; {_select_again(mine)}",
        )
    if example in record["exclude"]:
        return "filtered", "--exclude names it"
    sets = {score_set["set_id"]: alias for alias, score_set in record["score_sets"].items()}
    failed = [failure for failure in document["failures"] if failure["set_id"] in sets]
    if failed:
        alias = sets[failed[0]["set_id"]]
        return (
            "failed",
            f"it has no score {alias!r} ({failed[0]['reason']}), which the method reads",
        )
    if record["within"] is not None:
        inside = store.selection_rows(record["within"])["id"].to_pylist()
        if example not in inside:
            return (
                "filtered",
                f"it was made within selection {record['within']}, which does not include it",
            )
    for alias, score_set in record["score_sets"].items():
        if stored.hashes.get(score_set["set_id"]) != score_set["content_hash"]:
            reason = "changed since" if score_set["set_id"] in stored.hashes else "was deleted"
            return "unknown", f"unknown: score set {score_set['set_id']} ({alias}) {reason}"
    return None, ""


def _select_again(datasets: set[str]) -> str:
    return f"select from {', '.join(sorted(datasets))} too"


def _by_rank(store: "Store", document: Mapping[str, Any], stored: StoredRanking) -> Exclusion:
    record, n = stored.record, stored.n_kept
    selection_id, name = record["selection_id"], record["method"]

    def because(cause: Cause, text: str, **facts: Any) -> Exclusion:
        return Exclusion(selection_id, name, n, cause, text, **facts)

    cls = get_method(name)
    if "revise" in record:
        why = why_dropped(store, record, document["id"])
        if why is not None:
            return because("left out", f"its confidence is low, and no response replaced it: {why}")
    if not issubclass(cls, Selector):
        return because("unknown", f"unknown: {name} is a procedure of several selections")
    if not cls.nested:
        text = f"unknown: what {name} picks depends on how many are asked for"
        return because("unknown", text)
    view = stored.view()
    row = int(np.searchsorted(view.ids, document["id"].encode()))
    if row >= len(view) or view.ids[row] != document["id"].encode():
        if record["where"] and not stored.satisfies(document["id"]):
            return because("filtered", f"it does not satisfy --where {record['where']!r}")
        return because("left out", "it has no value for something the method reads")
    ranked, view = stored.ranked(), stored.view()
    if not ranked.agrees:
        return because("unknown", f"unknown: {_RECOMPUTING} gives another selection")
    places = np.flatnonzero(ranked.selection.indices == row)
    if len(places):
        text, facts = _place(ranked, int(places[0]), n, view, record)
        return because("ranked below", text, **facts)
    shares = stored.shares
    if shares and row in ranked.considered:
        cause: Cause = "mix" if shares.mix else "quota"
        whose = " and ".join(
            f"its source {value_of(view, column, row)!r}" if column == SOURCE
            else f"{column} = {value_of(view, column, row)!r}"
            for column in shares.all_columns
        )  # fmt: skip
        text = f"the --{cause} of {whose} was filled by examples that rank higher"
        return because(cause, text)
    if stored.is_of_own_size:
        n_own = len(ranked.considered)
        text = f"without a budget {name} keeps {n_own:,} examples, of which it is none"
        return because("left out", text)
    excluded = ranked.selection.excluded
    counts = ", ".join(f"{count:,} {reason}" for reason, count in excluded.items())
    return because("left out", f"{name} did not consider it; it left out: {counts or 'none'}")


def _place(
    ranked: Ranked, at: int, n_kept: int, view: View, record: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Say where a row ranks, and what would include it: a budget, or a gain."""
    everything = ranked.selection
    n_ranked = len(everything)
    needs = str(at + 1)
    if record["budget"] and Budget.parse(record["budget"]).counts_tokens:
        assert view.tokens is not None
        needs = f"{int(view.tokens[everything.indices[: at + 1]].sum())}tok"
    facts: dict[str, Any] = {"rank": at + 1, "n_ranked": n_ranked, "needs": needs}
    text = f"rank {at + 1:,} of {n_ranked:,}, and {n_kept:,} were kept; --budget {needs} would include it"
    gains = everything.gains
    if gains is not None and np.isfinite(gains[[at, n_kept - 1]]).all():
        gain, last = float(gains[at]), float(gains[n_kept - 1])
        facts |= {"gain": gain, "last_gain": last}
        text += f". Its gain is {gain:.6g}, the last one kept has {last:.6g}"
        if _sorted_by_gain(gains):
            text += ": a gain above that, all else equal, would also include it"
    if ranked.reasons is not None:
        text += f" ({ranked.reasons[at].as_py()})"
    return text, facts


def _sorted_by_gain(gains: Float[np.ndarray, " n"]) -> bool:
    finite = gains[np.isfinite(gains)]
    return bool((np.diff(finite) <= 0).all())
