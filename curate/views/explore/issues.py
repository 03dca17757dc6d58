"""The issues of the pool: how many examples have each, some of them, and what would tell more."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.views.explore.issue_kinds import KINDS, Issue, issue_mask, issues
from curate.views.explore.query import numbers, smallest
from curate.views.explore.rows import previews, shown
from curate.views.explore.session import Session

if TYPE_CHECKING:
    from curate.store.ids import Rows
    from curate.store.query.snapshot import Snapshot

MOST_SHOWN: Final = 3  # examples of an issue


def pool_issues(session: Session) -> dict[str, Any]:
    """Return the issues of the pool by kind: their examples' number, the worst few, and evidence.

    ``n_out`` counts those that are marked out already. A kind without any issue that stored scores
    could tell has the command that computes them.
    """
    snapshot = session.snapshot()
    out = {i for i, mark in session.marks().items() if mark == "out"}
    known = issues(session, snapshot)
    return {
        "kinds": [
            {
                "kind": kind, "title": title, "command": command,
                "issues": [
                    _described(session, snapshot, issue, out) for issue in known if issue.kind == kind
                ],
            }
            for kind, (title, command) in KINDS.items()
        ]
    }  # fmt: skip


def _described(
    session: Session, snapshot: "Snapshot", issue: Issue, out: set[str]
) -> dict[str, Any]:
    rows = np.flatnonzero(issue_mask(session, snapshot, issue.key))
    worst = _worst(session, snapshot, issue, rows)
    names = snapshot.names(worst)
    texts = previews(session, names) if names else {}
    facts = {name: snapshot.array(name) for name in issue.evidence}
    return {
        "key": issue.key,
        "means": issue.means,
        "where": issue.where,
        "n": len(rows),
        "n_out": len(out.intersection(snapshot.names(rows))) if out else 0,
        "worst": [
            {
                "id": name,
                "text": texts[name]["prompt"],
                "evidence": {
                    column: shown(values[int(row)].as_py()) for column, values in facts.items()
                },
            }
            for name, row in zip(names, worst.tolist(), strict=True)
        ],
    }


def _worst(session: Session, snapshot: "Snapshot", issue: Issue, rows: "Rows") -> "Rows":
    if not issue.worst:
        return rows[:MOST_SHOWN]
    values = numbers(session, snapshot, issue.worst.removeprefix("-"))[rows]
    low_first = issue.worst.startswith("-")
    return rows[smallest(values if low_first else -values, MOST_SHOWN)]
