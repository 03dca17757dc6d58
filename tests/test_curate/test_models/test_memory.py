"""Batches that do not fit in memory."""

import pytest

from curate.models.memory import run_in_halves


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
