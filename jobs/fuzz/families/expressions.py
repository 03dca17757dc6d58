"""Expressions: of the grammar, nearly of it, and none; of any length and depth."""

from pathlib import Path
from random import Random
from typing import Final

import duckdb

from curate.store.expressions import FUNCTIONS, Column, parse
from jobs.fuzz.family import READ, Attack, Family
from jobs.fuzz.mutations import TEXTS, damaged

_COLUMNS: Final = {
    "a.x": Column("t.x", "number"), "a.y": Column("t.y", "number"), "source": Column("t.s", "text"),
    "flag": Column("t.b", "bool"), "row.odd \" name": Column("t.x", "number"),
}  # fmt: skip
_WORDS: Final = (
    *_COLUMNS, *FUNCTIONS, "and", "or", "not", "in", "is", "null", "true", "false", "between", "like", "(", ")",
    ",", "=", "<>", "<=", "+", "-", "*", "/", "%", "'a'", "''", "'it''s'", "0", "1", "1e308", ".5", "1e999", '"',
    "'", ";", "--", "/*", "select", "drop table t", "from", "::int", "||", "$1", "?", "read_text('/etc/passwd')",
    "getenv('HOME')", "a@0f.x", "a-b.c", "x.y.z", "[1]", "{'a': 1}", "\\", "\0", "\u00e9", "case when",
)  # fmt: skip
_ROWS: Final = "(values (1.5, null, 'a', true), (-1e308, 0.0, 'it''s', false), (null, 'nan'::double, null, null)) t(x, y, s, b)"


def _number(rng: Random, depth: int) -> str:
    kind = rng.randrange(8) if depth > 0 else rng.randrange(3)
    if kind < 2:
        return rng.choice(("a.x", "a.y", "null", "length(source)"))
    if kind == 2:
        return rng.choice(("0", "1", "-1", "1e308", "5e-324", "9007199254740993", ".5"))
    if kind < 5:
        return f"({_number(rng, depth - 1)} {rng.choice('+-*/%')} {_number(rng, depth - 1)})"
    if kind == 5:
        return f"{rng.choice(('log', 'exp', 'sqrt', 'abs', 'round'))}({_number(rng, depth - 1)})"
    if kind == 6:
        return f"pow({_number(rng, depth - 1)}, {_number(rng, depth - 1)})"
    return f"if({_bool(rng, depth - 1)}, {_number(rng, depth - 1)}, {_number(rng, depth - 1)})"


def _bool(rng: Random, depth: int) -> str:
    kind = rng.randrange(7) if depth > 0 else rng.randrange(2)
    if kind == 0:
        return rng.choice(("flag", "true", "null", "source like 'a%'", "contains(source, '''')"))
    if kind == 1:
        return f"a.x {rng.choice(('=', '<', '>=', '!='))} a.y"
    if kind == 2:
        return f"not {_bool(rng, depth - 1)}"
    if kind < 5:
        return f"({_bool(rng, depth - 1)} {rng.choice(('and', 'or'))} {_bool(rng, depth - 1)})"
    if kind == 5:
        return f"{_number(rng, depth - 1)} between {_number(rng, depth - 1)} and {_number(rng, depth - 1)}"
    return f"{_number(rng, depth - 1)} is not null"


def _make(rng: Random) -> Attack:
    kind = rng.random()
    if kind < 0.4:
        text = rng.choice((_bool, _number))(rng, rng.randrange(1, 6))
    elif kind < 0.8:
        text = rng.choice((" ", "")).join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 30)))
    elif kind < 0.97:
        text = f"source = '{rng.choice(TEXTS)}' and {rng.choice(TEXTS)}"
    else:
        n = rng.choice((99, 101, 3_000, 40_000))
        text = rng.choice(("(" * n, "not " * n, "- " * n, "1 + " * n + "1", "(" * n + "1" + ")" * n,
                           "a.x in (" + "1, " * n + "1)", "abs(" * n, "'" + "a" * n + "'", '"' * n))  # fmt: skip
    content = text.encode("utf-8", "surrogatepass")
    return Attack(damaged(rng, content) if rng.random() < 0.3 else content, "expression.txt")


def _read(path: Path, folder: Path) -> str:
    del folder
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    parsed = parse(text, ("a-b", "a"))
    assert parse(str(parsed), ("a-b", "a")) == parsed, "its text parses to another tree"
    column = parsed.to_sql(_COLUMNS)
    with duckdb.connect() as con:
        con.execute("set ieee_floating_point_ops = true")
        con.execute("set enable_external_access = false")
        assert len(con.execute(f"select {column.sql} from {_ROWS}").fetchall()) == 3
    return READ


FAMILY: Final = Family("expressions", _make, _read)
