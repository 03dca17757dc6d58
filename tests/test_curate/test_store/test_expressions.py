"""The expression grammar: means what a slow evaluator says, and lets nothing else through."""

import math
import re
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ExpressionError
from curate.store.expressions import Column, Parsed, parse
from curate.store.grammar import Literal_, Name, Node

ROWS: list[dict[str, Any]] = [
    {"a.x": 1.5, "a.n": 3, "flag": True, "name": "dolly"},
    {"a.x": -2.0, "a.n": 0, "flag": False, "name": "it's"},
    {"a.x": 0.0, "a.n": -7, "flag": None, "name": ""},
    {"a.x": None, "a.n": None, "flag": True, "name": None},
    {"a.x": 1e300, "a.n": 12, "flag": False, "name": "Alpaca GPT4"},
]
COLUMNS = {
    "a.x": Column('"x"', "number"),
    "a.n": Column('"n"', "number"),
    "flag": Column('"flag"', "bool"),
    "name": Column('"name"', "text"),
}


@pytest.fixture(scope="module")
def con() -> Any:
    connection = duckdb.connect()
    connection.execute("set ieee_floating_point_ops = true")
    connection.execute("create table t (i int, x double, n bigint, flag boolean, name varchar)")
    for number, row in enumerate(ROWS):
        connection.execute("insert into t values (?, ?, ?, ?, ?)", [number, *row.values()])
    yield connection
    connection.close()


def in_duckdb(con: Any, parsed: Parsed) -> list[Any]:
    sql = parsed.to_sql(COLUMNS).sql
    return [v for (v,) in con.execute(f"select {sql} from t order by i").fetchall()]


# A slow evaluator, written against the documentation and not against the compiler ------------------


def evaluate(node: Node, row: dict[str, Any]) -> Any:
    if isinstance(node, Literal_):
        return node.value
    if isinstance(node, Name):
        value = row[node.name]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    values = [evaluate(o, row) for o in node.operands]
    if node.name in ("and", "or"):
        decisive = node.name == "or"
        if decisive in values:
            return decisive
        return None if None in values else not decisive
    if node.name == "is null":
        return values[0] is None
    if node.name == "coalesce":
        return next((v for v in values if v is not None), None)
    if node.name == "if":
        return values[1] if values[0] else values[2]
    if node.name in ("least", "greatest"):
        known = [v for v in values if v is not None]
        return (min if node.name == "least" else max)(known) if known else None
    if node.name == "between":
        checks = [compare(">=", values[0], values[1]), compare("<=", values[0], values[2])]
        return False if False in checks else None if None in checks else True
    if node.name == "in":
        checks = [compare("=", values[0], v) for v in values[1:]]
        return True if True in checks else None if None in checks else False
    if None in values:
        return None
    return strict(node.name, values)


def compare(name: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return {
        "=": left == right, "<>": left != right, "<": left < right, "<=": left <= right,
        ">": left > right, ">=": left >= right,
    }[name]  # fmt: skip


def strict(name: str, values: list[Any]) -> Any:
    first = values[0]
    if name in ("=", "<>", "<", "<=", ">", ">="):
        return compare(name, *values)
    texts = {"lower": str.lower, "upper": str.upper, "length": lambda t: float(len(t)),
             "contains": lambda t, s: s in t, "starts_with": str.startswith,
             "ends_with": str.endswith, "not": lambda b: not b}  # fmt: skip
    if name in texts:
        return texts[name](*values)
    if name == "like":
        pattern = "".join(
            {"%": "[\\s\\S]*", "_": "[\\s\\S]"}.get(c, re.escape(c)) for c in values[1]
        )
        return re.fullmatch(pattern, first) is not None
    try:
        result = {
            "+": lambda: first + values[1],
            "-": lambda: first - values[1],
            "*": lambda: first * values[1],
            "/": lambda: first / values[1],
            "%": lambda: math.fmod(first, values[1]),
            "negate": lambda: -first,
            "abs": lambda: abs(first),
            "log": lambda: math.log(first),
            "log10": lambda: math.log10(first),
            "exp": lambda: math.exp(first),
            "sqrt": lambda: math.sqrt(first),
            "pow": lambda: math.pow(first, values[1]),
            "round": lambda: math.copysign(math.floor(abs(first) + 0.5), first)
            if abs(first) < 2**52 else first,
            "floor": lambda: float(math.floor(first)),
            "ceil": lambda: float(math.ceil(first)),
        }[name]()  # fmt: skip
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


NUMBERS = st.one_of(
    st.sampled_from(["a.x", "a.n", "null"]),
    st.integers(-20, 20).map(str),
    st.floats(-1e3, 1e3, allow_subnormal=False).map(repr),
)
TEXTS = st.one_of(
    st.just("name"),
    st.text("abcABC _%'", max_size=4).map(lambda t: "'" + t.replace("'", "''") + "'"),
)


def grow(numbers: st.SearchStrategy[str], texts: st.SearchStrategy[str], depth: int) -> Any:
    """Return strategies of number, text and bool expressions up to a depth."""
    bools = st.one_of(
        st.sampled_from(["flag", "true", "false"]),
        st.tuples(numbers, st.sampled_from(["=", "==", "!=", "<>", "<", "<=", ">", ">="]), numbers)
        .map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        st.tuples(texts, st.sampled_from(["=", "!=", "like", "not like"]), texts).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
        st.tuples(numbers, st.sampled_from(["", "not "]), numbers, numbers).map(
            lambda t: f"{t[0]} {t[1]}between ({t[2]}) and ({t[3]})"
        ),
        st.tuples(numbers, st.sampled_from(["", "not "]), st.lists(numbers, min_size=1, max_size=3))
        .map(lambda t: f"({t[0]}) {t[1]}in ({', '.join(t[2])})"),
        st.tuples(texts, st.sampled_from(["is null", "is not null"])).map(" ".join),
        st.tuples(st.sampled_from(["contains", "starts_with", "ends_with"]), texts, texts).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
    )  # fmt: skip
    if depth == 0:
        return numbers, texts, bools
    combined = st.one_of(
        bools,
        bools.map(lambda b: f"not ({b})"),
        st.tuples(bools, st.sampled_from(["and", "or"]), bools).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
    )
    more = st.one_of(
        numbers,
        st.tuples(numbers, st.sampled_from("+-*/%"), numbers).map(
            lambda t: f"({t[0]} {t[1]} ({t[2]}))"
        ),
        numbers.map(lambda n: f"-({n})"),
        st.tuples(st.sampled_from(["abs", "log", "log10", "sqrt", "exp", "round", "floor", "ceil"]), numbers)
        .map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["pow", "least", "greatest", "coalesce"]), numbers, numbers).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
        texts.map(lambda t: f"length({t})"),
        st.tuples(combined, numbers, numbers).map(lambda t: f"if({t[0]}, {t[1]}, {t[2]})"),
    )  # fmt: skip
    longer = st.one_of(
        texts, texts.map(lambda t: f"lower({t})"), texts.map(lambda t: f"upper({t})")
    )
    deeper_numbers, deeper_texts, deeper_bools = grow(more, longer, depth - 1)
    return deeper_numbers, deeper_texts, st.one_of(combined, deeper_bools)


NUMBER_TEXTS, _, BOOL_TEXTS = grow(NUMBERS, TEXTS, 2)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(text=st.one_of(NUMBER_TEXTS, BOOL_TEXTS))
def test_duckdb_agrees_with_the_slow_evaluator(con: Any, text: str) -> None:
    parsed = parse(text)
    expected = [evaluate(parsed.root, row) for row in ROWS]
    for found, wanted in zip(in_duckdb(con, parsed), expected, strict=True):
        if isinstance(wanted, float) and not isinstance(wanted, bool):
            assert found is not None
            assert float(found) == pytest.approx(wanted, rel=1e-9, abs=1e-300), text
        else:
            assert found == wanted, text


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(NUMBER_TEXTS, BOOL_TEXTS))
def test_text_of_a_tree_parses_to_the_same_tree(text: str) -> None:
    parsed = parse(text)
    assert parse(str(parsed)) == parsed
    assert str(parse(str(parsed))) == str(parsed)


SQL_WORDS = ["select", "from", "t", ";", "--", "/*", "*/", "(", ")", ",", "'", '"', "drop", "table",
             "union", "read_csv", "x", "a.x", "1", "and", "or", "not", "in", "is", "null", "=", "::",
             "$$", "\\", "\0", "||", "[", "]", "{", "case", "when", "like", "name", "pragma", "é"]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    text=st.one_of(
        st.lists(st.sampled_from(SQL_WORDS), max_size=9).map(" ".join), st.text(max_size=30)
    )
)
def test_junk_is_refused_or_is_in_the_grammar(con: Any, text: str) -> None:
    try:
        parsed = parse(text)
        sql = parsed.to_sql(COLUMNS).sql
    except ExpressionError:
        return
    statements = duckdb.extract_statements(f"select {sql} from t")
    assert len(statements) == 1
    assert set(parsed.columns) <= set(COLUMNS)
    assert len(in_duckdb(con, parsed)) == len(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "1; drop table t", "(select 1)", "a.x -- comment", "a.x /* c */", "read_csv('x')",
        "a.x::int", "a.x || name", "exists (select 1)", "current_user()", "name.lower()", "$1", "?",
        "a.x in (select 1)", "count(*)", "random()", "getenv('HOME')", "a.x union select 1", "1 2",
        "", "   ", "'open", '"open', "((1)", "1)", "not", "a.x >", "a.x in ()", "1 < 2 < 3", "1e999",
        "\"abs\"(1)",
    ],
)  # fmt: skip
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text).to_sql(COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.xx > 1", "unknown column 'a.xx' at character 1 of the expression; did you mean 'a.x';"),
        ("a.xx > 1", "available: a.n, a.x, flag, name\n  a.xx > 1\n  ^"),
        ("1 + lg(a.x)", "unknown function 'lg' at character 5 of the expression; did you mean 'log';"),
        ("name + 1", "this is text, but number is needed at character 1 of the expression"),
        ("name = 1", "this is number, but text is needed at character 8 of the expression"),
        ("a.x and flag", "this is number, but bool is needed at character 1"),
        ("flag > true", "true and false cannot be ordered at character 6"),
        ("a.x > ", "expected a value, found the end at character 7"),
        ("a.x # 2", "unexpected '#' at character 5"),
        ("name = 'x", "text without a closing quote at character 8"),
        ("pow(1)", "pow takes 2 values, got 1 at character 1"),
        ("if(flag, 1)", "if takes 3 values, got 2 at character 1"),
        ("if(flag, 1, 'a')", "this is text, but number is needed at character 13"),
        ("a.x not 3", "expected in, between or like, found '3' at character 9"),
        ("1 = 1 = 1", "comparisons cannot be chained at character 7"),
    ],
)  # fmt: skip
def test_errors_point_at_the_place(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text).to_sql(COLUMNS)
    assert message in str(caught.value)


def test_deep_and_long_texts_are_refused_without_a_crash() -> None:
    with pytest.raises(ExpressionError, match="nested more than 100 deep"):
        parse("(" * 5000 + "1" + ")" * 5000)
    with pytest.raises(ExpressionError, match="nested more than 100 deep"):
        parse(" + ".join(["1"] * 5000))
    with pytest.raises(ExpressionError, match="has 200001 characters"):
        parse("1" * 200_001)


def test_a_long_list_is_fine(con: Any) -> None:
    listed = ", ".join(f"'{i}'" for i in range(5000))
    assert in_duckdb(con, parse(f"name in ({listed}, 'dolly')"))[0] is True


def test_names_are_quoted_and_words_ignore_case() -> None:
    parsed = parse('"my-alias"."a""b" IS NOT NULL AND Abs(x) > 1')
    assert parsed.columns == ('my-alias.a"b', "x")
    assert parse(str(parsed)) == parsed
    assert str(parsed) == '((not ("my-alias"."a""b" is null)) and (abs(x) > 1.0))'


def test_precedence_is_that_of_sql() -> None:
    assert parse("not a = 1 or b = 2 and c = 3") == parse("(not (a = 1)) or ((b = 2) and (c = 3))")
    assert parse("1 + 2 * -x - 3") == parse("(1 + (2 * (-x))) - 3")
    assert parse("a between 1 and 2 and b") == parse("(a between 1 and 2) and b")
