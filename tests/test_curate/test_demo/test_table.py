import pytest

from curate.demo.pool import PoolRow, build_pool
from curate.demo.table import kept_table
from curate.errors import DataError


def row(name: str, **changes) -> PoolRow:
    facts = {
        "id": name, "source": "list", "prompt": f"ask {name}", "response": "It is owl.",
        "skill": "first", "answer": "owl", "responder": "careful", "style": "plain",
        "is_correct": True, "is_near_duplicate": False, "duplicate_of": None,
    }  # fmt: skip
    return PoolRow(**facts | changes)


POOL = [
    row("a"),
    row("b", is_correct=False, skill="last"),
    row("c", duplicate_of="a", is_near_duplicate=True),
    row("d", style="off-style"),
]


def test_shares_counted_by_hand_with_the_pool_first():
    lines = kept_table(
        POOL, {"one": ["b", "c"], "two": ["a", "c", "d"]}, {"pool": 9, "one": 4, "two": 7}
    )
    assert lines == [
        {"method": "pool", "rows": 4, "wrong_share": 0.25, "repeat_share": 0.25,
         "off_style_share": 0.25, "skills": 2, "tokens": 9},
        {"method": "one", "rows": 2, "wrong_share": 0.5, "repeat_share": 0.0,
         "off_style_share": 0.0, "skills": 2, "tokens": 4},
        {"method": "two", "rows": 3, "wrong_share": 0.0, "repeat_share": 1 / 3,
         "off_style_share": 1 / 3, "skills": 1, "tokens": 7},
    ]  # fmt: skip


def test_method_that_kept_nothing_has_shares_of_zero():
    [_, line] = kept_table(POOL, {"none": []}, {"pool": 9, "none": 0})
    assert (line["rows"], line["wrong_share"], line["skills"]) == (0, 0.0, 0)


def test_row_that_is_not_of_this_pool_is_an_error():
    with pytest.raises(DataError, match=r"random kept 'z', which is not a row of the demo's pool"):
        kept_table(POOL, {"random": ["a", "z"]}, {"pool": 9, "random": 1})


def test_line_of_the_pool_gives_the_planted_shares():
    rows = build_pool()
    [line] = kept_table(rows, {}, {"pool": 1})
    assert line["wrong_share"] == pytest.approx(0.20, abs=0.001)
    assert line["repeat_share"] == pytest.approx((64 * 4 + 64) / len(rows))
    assert line["off_style_share"] == pytest.approx(0.25, abs=0.01)
    assert line["skills"] == 11
