"""From verdicts to what is kept, replaced and dropped; no model, no store."""

import pytest

from curate.select.procedures.correct.revise import correct

KEPT = {"k1": 0.9, "k2": 0.7}


def row(parent, confidence=0.9, agree=True, failure=None, new=None):
    return {
        "parent_id": parent, "id": new or f"new-{parent}", "response": f"better {parent}",
        "n_tokens": 5, "parent_confidence": 0.1, "confidence": confidence, "agree": agree,
        "consistency": confidence, "reflection": confidence, "failure": failure,
    }  # fmt: skip


def test_kept_replaced_and_dropped_with_their_reasons():
    judged = [
        row("a", 0.95), row("b", 0.8), row("c", 0.85, agree=False), row("d", failure="empty"),
        row("e", 0.2),
    ]  # fmt: skip
    made = correct(KEPT, judged, 0.8)
    assert [(one.id, one.gain) for one in made.kept] == [("a", 0.95), ("k1", 0.9), ("k2", 0.7)]
    assert [one["id"] for one in made.revisions] == ["new-a"]
    assert made.counts() == {
        "n_kept": 2, "n_replaced": 1, "n_dropped": 4,
        "dropped": {"empty": 1, "not_better": 2, "orders_disagree": 1},
    }  # fmt: skip


def test_a_kept_response_with_a_verdict_is_replaced_or_stays():
    made = correct(KEPT, [row("k1", 0.95), row("k2", 0.5), row("a", 0.5)], 0.8)
    assert [(one.id, one.revision is not None) for one in made.kept] == [
        ("k1", True), ("k2", False),
    ]  # fmt: skip
    assert made.dropped == {"not_better": 1}


def test_what_repeats_an_example_of_the_result_is_dropped():
    judged = [row("a", 0.9, new="same"), row("b", 0.95, new="same"), row("c", 0.9, new="k1")]
    made = correct(KEPT, judged, 0.8)
    assert [one["parent_id"] for one in made.revisions] == ["b"]
    assert made.dropped == {"duplicate": 2}


def test_ties_are_broken_by_id():
    judged = [row("b", 0.9, new="same"), row("a", 0.9, new="same"), row("c", 0.9)]
    made = correct({"d": 0.9}, judged, 0.8)
    assert [one.id for one in made.kept] == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("limit", "ids"), [(2, ["a", "k1"]), (3, ["a", "k1", "k2"]), (9, ["a", "k1", "k2"])]
)
def test_a_limit_keeps_the_most_confident(limit, ids):
    made = correct(KEPT, [row("a", 0.95)], 0.8, limit)
    assert [one.id for one in made.kept] == ids
    assert made.dropped == ({"over_budget": 3 - limit} if limit < 3 else {})
