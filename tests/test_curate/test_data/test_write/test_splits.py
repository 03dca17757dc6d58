"""A validation split takes whole groups, never too many, and depends on the seed alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from exported import SELECTION, bring, select
from hypothesis import given
from hypothesis import strategies as st

from curate.data.write.splits import draw_groups, validation_ids
from curate.errors import BudgetError, ConfigError, DataError
from curate.store import Store


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 50), st.integers(0, 99))
def test_groups_stay_whole_and_no_other_group_would_fit(
    labels: list[int], n: int, seed: int
) -> None:
    groups = np.unique(labels, return_inverse=True)[1]
    drawn = draw_groups(groups, n, np.random.default_rng(seed))
    taken = set(groups[drawn].tolist())
    assert drawn.tolist() == [group in taken for group in groups.tolist()]
    assert drawn.sum() <= n
    sizes = np.bincount(groups)
    assert all(sizes[g] > n - drawn.sum() for g in range(len(sizes)) if g not in taken)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ten instructions with three responses each."""
    store = Store(tmp_path / "curate.duckdb")
    rows = [{"prompt": f"p{i}", "response": f"r{i}-{j}"} for i in range(10) for j in range(3)]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return store


def test_no_instruction_is_in_both_and_the_seed_decides(store: Store) -> None:
    ids = select(store)
    chosen = validation_ids(store, SELECTION, "20%", 0)
    assert len(chosen) == 6
    table = store.read("select id, group_id from examples").to_pydict()
    group = dict(zip(table["id"], table["group_id"], strict=True))
    assert not {group[i] for i in chosen} & {group[i] for i in ids if i not in chosen}
    assert validation_ids(store, SELECTION, "6", 0) == chosen
    assert validation_ids(store, SELECTION, "20%", 1) != chosen
    select(store, ids[::-1])
    assert validation_ids(store, SELECTION, "20%", 0) == chosen, "ranks play no part"


def test_shares_that_leave_nothing_are_named(store: Store) -> None:
    select(store)
    with pytest.raises(DataError) as caught:
        validation_ids(store, SELECTION, "5%", 0)
    assert str(caught.value) == (
        "--validation 5% of 30 examples in 10 groups is 1 examples and leaves none for validation; "
        "give another share, or leave it out"
    )
    with pytest.raises(DataError, match="leaves none for training"):
        validation_ids(store, SELECTION, "100%", 0)
    with pytest.raises(ConfigError, match=r"--validation counts examples, got '2Mtok'"):
        validation_ids(store, SELECTION, "2Mtok", 0)
    with pytest.raises(BudgetError, match="cannot read budget 'some'"):
        validation_ids(store, SELECTION, "some", 0)
