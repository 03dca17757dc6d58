"""What the report on Auto-Correct counts, and its page."""

import pytest

from curate.demo.pool import build_pool
from jobs.compare import auto_correct
from jobs.compare.auto_correct import Line, is_better, knowing, main, measure, share

ROWS = [row for row in build_pool(0) if row.skill == "add"][:40]
RIGHT = [row for row in ROWS if row.is_correct][:3]
WRONG = [row for row in ROWS if not row.is_correct][:3]
TRUTH = {row.id: row for row in (*RIGHT, *WRONG)}


def judged(parent, confidence, right, agree=True):
    response = f"It is {parent.answer if right else '-1'}."
    return {"parent_id": parent.id, "id": f"new-{parent.id}", "response": response, "failure": None,
            "confidence": confidence, "agree": agree, "consistency": 0.5, "reflection": 0.5}  # fmt: skip


def test_right_before_and_after_by_hand():
    kept = {RIGHT[0].id: 0.9, WRONG[0].id: 0.8}
    rows = [judged(WRONG[1], 0.9, True), judged(RIGHT[1], 0.85, False), judged(WRONG[2], 0.5, True)]
    found = measure(TRUTH, kept, rows, 0.8)
    assert found == Line(
        0.8, n_kept=2, n_replaced=2, n_dropped=1, n_repeats=0, before=1, after=1, right=2
    )
    assert found.n_selected == 4


def test_a_judge_that_knows_replaces_what_only_the_candidate_gets_right():
    rows = [
        judged(WRONG[0], 0.1, True), judged(WRONG[1], 0.9, False), judged(RIGHT[0], 0.9, True),
        {**judged(RIGHT[1], 0.9, True), "response": None, "failure": "empty"},
    ]  # fmt: skip
    assert [is_better(row, TRUTH[row["parent_id"]]) for row in rows] == [1, 0, 0, 0]
    found = measure(TRUTH, {}, knowing(TRUTH, rows), 0.8)
    assert (found.n_replaced, found.before, found.after) == (1, 0, 1)


def test_shares():
    assert share(1, 3) == "1 of 3 (33.3%)"


@pytest.mark.slow
def test_the_page_has_the_counts_the_thresholds_and_the_command(
    roomy_model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(auto_correct, "ensure_model", lambda: roomy_model)
    main(
        [
            "--limit=16",
            f"--out={tmp_path}",
            "--max-new-tokens=3",
            "--epochs=1",
            "--device=cpu",
            "--batch-tokens=100",
        ]
    )
    page = (tmp_path / "auto-correct.md").read_text(encoding="utf-8")
    assert "`python jobs/compare/auto_correct.py --limit=16" in page
    assert "- 16 examples, " in page
    assert "- eta 0.8: 8 kept, 0 replaced, 8 dropped (8 unfinished)" in page
    assert all(
        f"| {eta} | 8 | 0 | 8 | 0 | 0 of 0 | 0 of 0 |" in page for eta in ("0.8", "0.4", "0")
    )
    assert "| a judge that knows the answers | 8 |" in page
    assert page in capsys.readouterr().out
