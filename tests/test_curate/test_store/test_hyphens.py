"""Names of score sets with hyphens: as they are registered, and with ``_``, wherever a name is used."""

import json
from typing import Any

import pytest
from reported import score

import curate as cu
from curate.contracts import Column
from curate.errors import ExpressionError
from curate.registry import get_scorer, names
from curate.store.expressions import parse
from curate.store.grammar import spelled

ALIASES = ("token-probability", "mtld", "a_b", "my-own-set", "gpt-4", "judge-7b")
SAME = [
    ("token-probability.p", "token-probability.p"),
    ("token_probability.p", "token-probability.p"),
    ("my-own-set.x", "my-own-set.x"),
    ("my_own_set.x", "my-own-set.x"),
    ("token-probability@e40c.p", "token-probability@e40c.p"),
    ('"token-probability".p', "token-probability.p"),
    ("gpt-4.score", "gpt-4.score"),
    ("judge_7b.x", "judge-7b.x"),
    ("judge-7b.x", "judge-7b.x"),
]


@pytest.mark.parametrize(("text", "name"), SAME)
def test_a_hyphen_and_an_underscore_are_the_same_set(text: str, name: str) -> None:
    assert parse(text, ALIASES).columns == (name,)
    assert parse(f"2*{text}/n_rows", ALIASES).columns == (name, "n_rows")
    assert parse(str(parse(text, ALIASES))).columns == (name,)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("n_rows-mtld.n", ("n_rows", "mtld.n")),
        ("token - probability.p", ("token", "probability.p")),
        ("token- probability.p", ("token", "probability.p")),
        ("a_b.x", ("a_b.x",)),
        ("null-mtld.n", ("mtld.n",)),
        ("mtld.n-token-probability.p", ("mtld.n", "token-probability.p")),
        ("n_rows-my-own-set.x", ("n_rows", "my-own-set.x")),
    ],
)
def test_a_difference_stays_a_difference(text: str, columns: tuple[str, ...]) -> None:
    assert parse(text, ALIASES).columns == columns


def test_a_set_with_an_underscore_goes_before_one_with_a_hyphen() -> None:
    assert parse("a_b.x + a-b.x", ("a_b", "a-b")).columns == ("a_b.x", "a-b.x")


def test_a_spelling_of_two_sets_asks_which() -> None:
    aliases = ("a-b_c", "a_b-c")
    assert parse("a-b_c.x + a_b-c.x", aliases).columns == ("a-b_c.x", "a_b-c.x")
    with pytest.raises(ExpressionError) as caught:
        parse("a_b_c.x", aliases)
    assert str(caught.value).startswith(
        "'a_b_c' is the name of 2 score sets at character 1 of the expression; "
        'write "a-b_c".x or "a_b-c".x'
    )


def value(column: Column) -> Any:
    if column.dtype == "text":
        return lambda name: f"t {name}"
    if column.dtype == "bool":
        return lambda name: int(name[1:]) % 2 == 0
    return lambda name: float(name[1:]) if column.dtype == "float" else int(name[1:])


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pool with a set of every registered scorer, under its own name."""
    folder = tmp_path_factory.mktemp("hyphens")
    rows = [{"id": f"n{i}", "prompt": f"p {i}", "response": f"r {i}"} for i in range(6)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(folder / "pool.jsonl")
    for name in names("scorer"):
        columns = {
            column: (declared.dtype, value(declared))
            for column, declared in get_scorer(name).outputs.items()
            if declared.dtype in ("int", "float", "bool", "text")
        }
        if columns:
            score(pool, name, columns)
    return pool


@pytest.mark.slow
def test_columns_of_every_scorer_are_read_by_expressions_plots_and_the_page(
    everything: Any,
) -> None:
    assert "token-probability" in names("scorer")
    snapshot = everything.store.snapshot()
    for name in names("scorer"):
        columns = {
            f"{name}.{column}": declared.dtype
            for column, declared in get_scorer(name).outputs.items()
            if declared.dtype in ("int", "float", "bool", "text")
        }
        if not columns:
            continue
        written = {*columns, *map(spelled, columns)}
        where = " and ".join(f"({one} is null or not ({one} is null))" for one in sorted(written))
        assert len(everything.examples(where=where).table) == 6
        for one in written:
            assert snapshot.matching(f"not ({one} is null)").sum() == 6
        numbers = [one for one, dtype in columns.items() if dtype in ("int", "float")]
        assert all(everything.plot.histogram(spelled(one)) is not None for one in numbers[:1])
    assert everything.plot.histograms() is not None
    assert "token-probability" in everything._repr_html_()


def test_an_unknown_name_is_answered_with_names_that_can_be_typed(everything: Any) -> None:
    with pytest.raises(ExpressionError) as caught:
        everything.examples(where="token_probability.mean_probabilty > 0")
    suggested = str(caught.value).partition("did you mean '")[2].partition("'")[0]
    assert suggested == "token_probability.mean_probability"
    assert len(everything.examples(where=f"{suggested} >= 0").table) == 6


def test_a_selection_ranks_by_either_spelling(everything: Any) -> None:
    chosen = everything.select(rank="token_probability.mean_probability", budget="2")
    assert len(chosen) == 2
