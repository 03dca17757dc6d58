import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ConfigError
from curate.models.batch import padded_tokens, plan_batches

lengths_of_rows = st.lists(st.integers(0, 300), max_size=80)
budgets = st.integers(1, 1000)


def ids_of(lengths):
    return [f"{(i * 7919) % 10007:05d}" for i in range(len(lengths))]


@given(lengths_of_rows, budgets)
def test_every_row_with_tokens_runs_exactly_once(lengths, budget):
    batches = plan_batches(np.array(lengths, dtype=int), ids_of(lengths), budget)
    rows = sorted(int(row) for batch in batches for row in batch)
    assert rows == [row for row, length in enumerate(lengths) if length]


@given(lengths_of_rows, budgets)
def test_a_batch_keeps_to_the_budget_padding_included_unless_it_is_one_row(lengths, budget):
    array = np.array(lengths, dtype=int)
    for batch in plan_batches(array, ids_of(lengths), budget):
        assert len(batch) == 1 or len(batch) * array[batch].max() <= budget


@given(lengths_of_rows, budgets, st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_the_rows(lengths, budget, random):
    ids = ids_of(lengths)
    order = list(range(len(lengths)))
    random.shuffle(order)

    def plan(rows):
        array = np.array([lengths[row] for row in rows], dtype=int)
        names = [ids[row] for row in rows]
        return [[names[row] for row in batch] for batch in plan_batches(array, names, budget)]

    assert plan(order) == plan(range(len(lengths)))


def test_the_tokens_of_a_plan_count_its_padding():
    lengths = np.array([4, 2, 2])
    batches = plan_batches(lengths, ["a", "b", "c"], 8)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2]]
    assert padded_tokens(lengths, batches) == 10


def test_a_budget_of_no_tokens_is_refused():
    with pytest.raises(ConfigError, match="batch tokens must be at least 1, got 0; try 2048"):
        plan_batches(np.array([1]), ["a"], 0)
