"""Batches that do not fit in memory."""

import pytest

from curate.models.memory import Limit, pieces_that_fit, run_in_halves


def fits(limit, too_big=()):
    """Return a function that doubles at most ``limit`` numbers at once, none of ``too_big``."""
    batches = []

    def run(rows):
        batches.append(list(rows))
        if len(rows) > limit or set(rows) & set(too_big):
            raise MemoryError
        return [2 * row for row in rows]

    return run, batches


def test_results_come_in_order_whatever_was_halved():
    run, batches = fits(2)
    splits = []
    found = list(run_in_halves([3, 1, 4, 1, 5], run, "cpu", lambda: splits.append(True)))
    assert found == [(0, 6), (1, 2), (2, 8), (3, 2), (4, 10)]
    assert batches == [[3, 1, 4, 1, 5], [3, 1], [4, 1, 5], [4], [1, 5]]
    assert splits == [True]


def test_a_row_that_exceeds_the_memory_alone_is_none():
    run, _ = fits(3, too_big=[4])
    assert list(run_in_halves([3, 1, 4], run, "cpu")) == [(0, 6), (1, 2), (2, None)]
    splits = []
    assert list(run_in_halves([4], run, "cpu", lambda: splits.append(True))) == [(0, None)]
    assert splits == []


def test_another_error_is_passed_on():
    def run(rows):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(run_in_halves([1, 2], run, "cpu"))


def test_what_is_known_not_to_fit_is_halved_without_a_try():
    run, batches = fits(2)
    learnt, splits = [], []
    limit = Limit(len, on_change=learnt.append)
    for _ in range(2):
        found = pieces_that_fit([3, 1, 4, 1, 5], run, "cpu", lambda: splits.append(1), limit)
        assert [(start, rows) for start, rows, _ in found] == [(0, [3, 1]), (2, [4]), (3, [1, 5])]
    assert learnt == [5, 3] and limit.too_many == 3
    assert splits == [1, 1]
    assert batches == [
        [3, 1, 4, 1, 5], [3, 1], [4, 1, 5], [4], [1, 5], [3, 1], [4], [1, 5],
    ]  # fmt: skip


def test_a_row_alone_is_always_tried():
    run, batches = fits(1)
    limit = Limit(len, too_many=1)
    assert list(pieces_that_fit([7], run, "cpu", limit=limit)) == [(0, [7], [14])]
    assert batches == [[7]]
