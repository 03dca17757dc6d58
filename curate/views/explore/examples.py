"""One example in full, why selections include it or not, and the other responses to its instruction."""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.select.explain import facts
from curate.select.marks import METHOD
from curate.views.charts.text import one_line, pieces
from curate.views.explore.embedding_map import CLUSTER
from curate.views.explore.points import mapped
from curate.views.explore.rows import described, previews
from curate.views.explore.session import STORED, Session
from curate.views.notebook.near import nearest

if TYPE_CHECKING:
    from curate.store.query.snapshot import Snapshot

MOST_CHARS: Final = 8_000  # of one message, unless the whole is asked for
MOST_RESPONSES: Final = 12
NEIGHBOURS: Final = 8


def example(session: Session, example_id: str, *, whole: bool) -> dict[str, Any]:
    """Return an example's texts, scores with percentiles, and the selections that include it.

    Long messages are cut at `MOST_CHARS` unless ``whole``.
    """
    document = facts(session.store, example_id)
    snapshot = session.snapshot()
    group = _group_rows(snapshot, document["group_id"])
    return {
        "id": document["id"],
        "source": pieces(one_line(document["source"] or "", 200)),
        "group_id": document["group_id"],
        "n_responses": len(group),
        "n_chars": document["n_chars"],
        "n_rows": document["n_rows"],
        "names": [pieces(one_line(row["external_id"], 80)) for row in document["rows"][:5]
                  if row["external_id"]],
        "mark": session.marks().get(document["id"]),
        "labels": session.labels().get(document["id"], []),
        "note": session.notes().get(document["id"], ""),
        "messages": [_message(message, whole) for message in document["messages"]],
        "tools": _text(json.dumps(document["tools"], indent=1, ensure_ascii=False), whole) if document["tools"] else None,
        "scores": _scores(document),
        "failures": [{"alias": failure["alias"], "reason": pieces(failure["reason"])}
                     for failure in document["failures"]],
        "selections": [_chosen(selection) for selection in document["selections"]
                       if selection["method"] != METHOD],
    }  # fmt: skip


def why_not(session: Session, example_id: str) -> list[dict[str, Any]]:
    """Return why each selection without an example does not include it, recomputing rankings for this.

    One request at a time ranks; the others wait for their turn. What was ranked is kept for the next
    question until the store changes.
    """
    from curate.select.rankings import Rankings
    from curate.select.why_not import absences

    with session.ranking:
        session.snapshot()
        rankings = session.remembered((STORED, "rankings"), Rankings)
        missing = session.remembered(
            (STORED, "why-not", example_id),
            lambda: absences(session.store, session.store.example(example_id), (), rankings),
        )
    return [
        {
            "id": absence.selection_id,
            "method": absence.method,
            "cause": absence.cause,
            "text": pieces(absence.text),
        }
        for absence in missing
    ]


def responses(session: Session, example_id: str, *, whole: bool) -> dict[str, Any]:
    """Return the responses to the instruction of an example, side by side, with their scores.

    At most `MOST_RESPONSES`, including the example itself; ``n`` counts all. ``best`` names for
    each score the example with the highest and the lowest value among those shown.
    """
    snapshot = session.snapshot()
    row = snapshot.place(example_id)
    codes, names = snapshot.codes("group_id")
    rows = np.flatnonzero(codes == codes[row])
    kept = np.sort(np.r_[row, rows[rows != row][: MOST_RESPONSES - 1]])
    scores = [
        name
        for name, column in snapshot.columns.items()
        if column.shape and column.kind == "number"
    ]
    listed = described(session, snapshot, kept, scores)
    picks = [pick for pick in session.selections() if pick.method != METHOD]
    limit = 10_000_000 if whole else MOST_CHARS
    texts = dict(zip(snapshot.names(kept), snapshot.previews(kept, limit), strict=True))
    for entry, at in zip(listed, kept.tolist(), strict=True):
        text = texts[entry["id"]]
        entry["response"] = _text(text.response, whole, text.n_response)
        entry["selections"] = [
            {"id": pick.selection_id, "method": pick.method} for pick in picks if at in pick.rows
        ]
    first = next(iter(texts.values()))
    return {
        "group_id": names[int(codes[row])],
        "n": len(rows),
        "prompt": _text(first.prompt, whole, first.n_prompt),
        "columns": [name for name in scores if any(o["values"][name] is not None for o in listed)],
        "responses": listed,
    }


def neighbours(session: Session, example_id: str, embedding: str) -> dict[str, Any]:
    """Return the examples whose vectors are nearest to an example's, by cosine, nearest first."""
    found = nearest(session.store, example_id, NEIGHBOURS, embedding)
    names, cosines = found["id"].to_pylist(), found["cosine"].to_pylist()
    snapshot = session.snapshot()
    texts, marks = previews(session, names), session.marks()
    points, rows = mapped(session, snapshot, embedding)
    by_row = np.full(len(snapshot), -1, dtype=np.int64)
    by_row[rows] = np.arange(len(rows))
    places = by_row[[snapshot.place(i) for i in names]]
    return {
        "embedding": embedding,
        "neighbours": [
            {
                "id": i, "cosine": cosine, "mark": marks.get(i), **texts[i],
                "point": points[at].tolist() if at >= 0 else None,
            }
            for i, cosine, at in zip(names, cosines, places.tolist(), strict=True)
        ],
    }  # fmt: skip


def _group_rows(snapshot: "Snapshot", group_id: str) -> Any:
    codes, names = snapshot.codes("group_id")
    return np.flatnonzero(codes == names.index(group_id)) if group_id in names else np.zeros(0)


def _message(message: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    content = message.get("content")
    parts = (
        [content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False)]
        if content
        else []
    )
    extra = {key: message[key] for key in ("reasoning_content", "tool_calls") if message.get(key)}
    parts += [f"{key}: {value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)}"
              for key, value in extra.items()]  # fmt: skip
    return {
        "role": pieces(one_line(str(message.get("role")), 40)),
        **_text("\n".join(parts), whole),
    }


def _text(text: str, whole: bool, n_chars: int | None = None) -> dict[str, Any]:
    """Return a text with hidden characters named, and how many of its ``n_chars`` were cut."""
    kept = text if whole else text[:MOST_CHARS]
    return {"text": pieces(kept), "n_cut": (len(text) if n_chars is None else n_chars) - len(kept)}


def _scores(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "column": f"{alias}.{name}",
            "value": _value(value),
            "percentile": None
            if name == CLUSTER
            else document["percentiles"].get(alias, {}).get(name),
        }
        for alias, columns in document["scores"].items()
        for name, value in columns.items()
    ]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [f"{len(value):,} numbers"]
    if isinstance(value, str):
        return pieces(one_line(value, 400))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _chosen(selection: Mapping[str, Any]) -> dict[str, Any]:
    gain, last = selection["gain"], selection["last_gain"]
    return {
        "id": selection["selection_id"], "method": selection["method"], "rank": selection["rank"],
        "n_selected": selection["n_selected"], "gain": _value(gain), "last_gain": _value(last),
        "reason": pieces(selection["reason"] or ""),
    }  # fmt: skip
