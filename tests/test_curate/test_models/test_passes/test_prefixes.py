import random
from dataclasses import replace

import numpy as np
import pytest

from curate.models.passes.prefixes import LEAST_COMMON, MOST_ROWS, PrefixTree, plan_shared
from curate.models.text.render import Rendered

HEADER = list(range(100, 120))


def rendered(*rows: list[int]) -> Rendered:
    """Return an example of some rows, whose last token of each predicts an end."""
    ids = np.array([token for row in rows for token in row], dtype=np.int32)
    ends = np.cumsum([len(row) for row in rows])
    return Rendered(
        ids,
        (ends - 1).astype(np.int32),
        np.ones(len(rows), dtype=np.int32),
        np.ones(len(rows), dtype=bool),
        False,
        len(rows),
        tuple(np.array([0, *ends[:-1]]).tolist()),
    )


def answers(n_groups: int, n: int, prompt: int = 30, seed: int = 0) -> list[Rendered]:
    """Return groups of examples with a prompt in common and answers of many lengths."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_groups):
        asked = rng.integers(0, 1000, prompt).tolist()
        rows += [
            rendered(asked + rng.integers(0, 1000, k).tolist()) for k in rng.integers(1, 40, n)
        ]
    return rows


def runs_of(tree: PrefixTree) -> list[tuple[list[int], list[int]]]:
    """Return the ids of each run, and of all it attends to."""
    return [
        (tree.ids[a:b].tolist(), tree.ids[tree.keys[c:d]].tolist())
        for a, b, c, d in zip(
            tree.starts, tree.starts[1:], tree.key_starts, tree.key_starts[1:], strict=False
        )
    ]  # fmt: skip


def test_what_rows_begin_with_lies_there_once():
    tree = PrefixTree.of([rendered([*HEADER, 1, 2]), rendered([*HEADER, 3]), rendered([5, 6])])
    assert runs_of(tree) == [
        ([5, 6], [5, 6]),
        (HEADER, HEADER),
        ([1, 2], [*HEADER, 1, 2]),
        ([3], [*HEADER, 3]),
    ]
    assert tree.positions.tolist() == [0, 1, *range(20), 20, 21, 20]


def test_a_row_may_go_on_from_another_and_be_there_twice():
    first, longer = [*HEADER, 1], [*HEADER, 1, *range(30, 42)]
    tree = PrefixTree.of([rendered(longer), rendered(first), rendered(longer)])
    assert runs_of(tree) == [(first, first), (longer[21:], longer)]
    assert tree.ids[tree.tokens].tolist() == longer + first + longer


def test_rows_of_one_example_share_what_they_begin_with():
    example = rendered([*HEADER, 1], [*HEADER, 2, 3])
    tree = PrefixTree.of([example])
    assert len(tree.ids) == len(HEADER) + 3
    assert tree.ids[tree.tokens].tolist() == example.ids.tolist()


def test_too_little_in_common_is_not_shared():
    few = HEADER[: LEAST_COMMON - 1]
    assert len(PrefixTree.of([rendered([*few, 1]), rendered([*few, 2])]).ids) == 2 * len(few) + 2
    enough = HEADER[:LEAST_COMMON]
    assert len(PrefixTree.of([rendered([*enough, 1]), rendered([*enough, 2])]).ids) == 10


def test_every_token_of_every_row_is_where_the_tree_says():
    rows = [*answers(5, 6), rendered(HEADER[:3], [*HEADER, 9], [*HEADER, 9, *range(12)])]
    random.Random(1).shuffle(rows)
    tree = PrefixTree.of(rows)
    assert tree.ids[tree.tokens].tolist() == [t for row in rows for t in row.ids.tolist()]
    wanted = [n for row in rows for a, b in row.edges for n in range(b - a)]
    assert tree.positions[tree.tokens].tolist() == wanted
    assert [len(keys) for _, keys in runs_of(tree)] == [
        int(tree.positions[end - 1]) + 1 for end in tree.starts[1:]
    ]


def test_a_blank_lies_where_what_it_stands_for_would():
    rows = answers(2, 5)
    tree = PrefixTree.of(rows)
    blank = PrefixTree.of([rows[0].blank(), *rows[1:]])
    assert blank.keys.tolist() == tree.keys.tolist()
    assert blank.tokens.tolist() == tree.tokens.tolist()
    others = tree.tokens[len(rows[0].ids) :]
    assert blank.ids[others].tolist() == tree.ids[others].tolist()
    alone = PrefixTree.of([rows[0].blank(), rows[0].blank()])
    assert alone.ids.tolist() == [0] * len(rows[0].ids)


def test_the_plan_keeps_groups_together_whatever_the_order_of_the_rows():
    rows = answers(20, 8)
    ids = [f"{n:04d}" for n in range(len(rows))]
    plan = plan_shared(rows, ids, 512)
    assert sorted(np.concatenate(plan.batches).tolist()) == list(range(len(rows)))
    groups = [{n // 8 for n in batch.tolist()} for batch in plan.batches]
    assert sum(map(len, groups)) <= 20 + len(groups) // 4
    assert plan.tokens == sum(len(row.ids) for row in rows)
    assert plan.computed <= plan.tokens - 20 * 7 * 30 + len(groups) * 30
    assert plan.pays and plan.saved == plan.tokens - plan.computed
    order = random.Random(2).sample(range(len(rows)), len(rows))
    again = plan_shared([rows[n] for n in order], [ids[n] for n in order], 512)
    assert [[order[n] for n in batch] for batch in again.batches] == [
        batch.tolist() for batch in plan.batches
    ]


@pytest.mark.parametrize("budget", [1, 40, 512, 100_000])
def test_batches_keep_to_the_budget_in_tokens_that_run(budget):
    rows = answers(12, 5, seed=3)
    plan = plan_shared(rows, [f"{n}" for n in range(len(rows))], budget)
    for batch in plan.batches:
        members = [rows[n] for n in batch.tolist()]
        n_all = sum(len(row.ids) for row in members)
        assert len(members) == 1 or len(PrefixTree.of(members).ids) <= budget
        assert len(members) == 1 or n_all <= MOST_ROWS * budget


def test_many_short_rows_of_one_long_prompt_are_not_one_batch():
    asked = list(range(1000))
    rows = [rendered([*asked, 2000 + n]) for n in range(100)]
    plan = plan_shared(rows, [f"{n}" for n in range(100)], 2048)
    assert max(len(batch) for batch in plan.batches) == MOST_ROWS * 2048 // 1001
    assert plan.pays


def test_rows_with_nothing_in_common_do_not_pay_and_unrendered_ones_are_left_out():
    rows = [rendered(np.random.default_rng(n).integers(0, 1000, 20).tolist()) for n in range(9)]
    plan = plan_shared([*rows, "too_long"], [f"{n}" for n in range(10)], 64)
    assert sorted(np.concatenate(plan.batches).tolist()) == list(range(9))
    assert not plan.pays and plan.saved == 0
    nothing = plan_shared(["too_long"], ["0"], 64)
    assert (nothing.batches, nothing.tokens, nothing.pays) == ([], 0, False)


def test_blanks_are_planned_as_what_they_stand_for():
    rows = answers(6, 4)
    ids = [f"{n}" for n in range(len(rows))]
    wanted = plan_shared(rows, ids, 256)
    found = plan_shared([replace(rows[0]).blank(), *rows[1:]], ids, 256)
    assert [b.tolist() for b in found.batches] == [b.tolist() for b in wanted.batches]
