"""``row.NAME`` in expressions: a user's own column of the input rows, bound by the datasets."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.api.pool import Pool
from curate.api.reproduce import reproduce
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError, CurateError, ExpressionError

QUALITY = {"a": 0.1, "b": 0.9, "c": 0.4, "d": 0.7}


def _row(name: str, **own: Any) -> dict[str, Any]:
    return {"id": name, "prompt": f"prompt {name}", "response": f"response {name}", **own}


def _pool(folder: Path, rows: list[dict[str, Any]], name: str = "pool.jsonl") -> Pool:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool(folder / "s.duckdb", create=True)
    pool.ingest(str(path))
    return pool


def _names(pool: Pool, **options: Any) -> list[str]:
    rows = pool.examples(**options).to_arrow()["prompt"].to_pylist()
    return [text.removeprefix("prompt ") for text in rows]


@pytest.mark.parametrize("container", ["pool.jsonl", "pool.json", "pool.csv", "pool.parquet"])
def test_a_column_ranks_filters_and_is_reproduced(tmp_path: Path, container: str) -> None:
    rows = [_row(name, quality=value, kept="yes") for name, value in QUALITY.items()]
    pool = _pool(tmp_path, rows, container)
    assert _names(pool, by="row.quality") == ["b", "d", "c", "a"]
    output = tmp_path / f"best{Path(container).suffix}"
    chosen = pool.select(
        rank="row.quality", where="row.quality < 0.8 and row.kept = 'yes'", budget="2",
        output=output,
    )  # fmt: skip
    prompts = pool.examples(ids=chosen.ids).to_arrow()["prompt"].to_pylist()
    assert prompts == ["prompt d", "prompt c"]
    assert chosen.document["n_excluded"] == {"where": 1}
    again = reproduce(
        Path(chosen.document["manifest"]), store=None, output=None, rescore=True, workers=None,
        progress=SilentProgress(),
    )  # fmt: skip
    assert again["identical"], again["differences"]


def test_values_inside_objects_and_keys_with_dots(tmp_path: Path) -> None:
    rows = [_row("a", meta={"score": 1}), _row("b", meta={"score": 2}), _row("c", **{"x.y": 3})]
    pool = _pool(tmp_path, rows)
    assert _names(pool, by="row.meta.score") == ["b", "a"]
    assert _names(pool, where="row.x.y = 3") == ["c"]
    with pytest.raises(
        ExpressionError, match=r"row.meta is a list or an object in 2 rows of .*pool"
    ):
        pool.examples(by="row.meta")


def test_values_inside_the_structs_of_a_table(tmp_path: Path) -> None:
    rows = [_row(name, meta={"score": value, "by": "us"}) for name, value in QUALITY.items()]
    pool = _pool(tmp_path, rows, "pool.parquet")
    assert _names(pool, by="row.meta.score", where="row.meta.by = 'us'") == ["b", "d", "c", "a"]
    with pytest.raises(
        ExpressionError, match=r"row.meta is a list or an object in 4 rows of .*pool"
    ):
        pool.examples(by="row.meta")


def test_an_example_has_the_values_of_its_first_row(tmp_path: Path) -> None:
    rows = [_row("a", quality=1), _row("b", quality=2), _row("a", quality=9)]
    assert _names(_pool(tmp_path, rows), by="row.quality") == ["b", "a"]


def test_an_unknown_name_is_an_error_with_the_nearest_spelling(tmp_path: Path) -> None:
    pool = _pool(tmp_path, [_row("a", quality=1)])
    with pytest.raises(
        ExpressionError, match=r"unknown column 'row.qualty'.*did you mean 'row.quality'"
    ):
        pool.select(rank="row.qualty", budget="1")
    with pytest.raises(
        ExpressionError, match=r"unknown column 'quality'.*did you mean 'row.quality'"
    ):
        pool.select(rank="quality", budget="1")


@pytest.mark.parametrize("container", ["pool.jsonl", "pool.csv", "pool.parquet"])
def test_explain_shows_the_columns_of_the_first_row(tmp_path: Path, container: str) -> None:
    rows = [_row("a", quality=1, kind="math"), _row("b", quality=2, kind="code")]
    shown = _pool(tmp_path, rows, container).explain("b")["row"]
    quality = "2" if container == "pool.csv" else 2
    assert shown == {"id": "b", "quality": quality, "kind": "code"}


def test_a_row_without_a_value_is_excluded_and_counted(tmp_path: Path) -> None:
    rows = [_row("a", quality=1), _row("b"), _row("c", quality=None), _row("d", quality=2)]
    chosen = _pool(tmp_path, rows).select(rank="row.quality", budget="2")
    assert chosen.document["n_excluded"] == {"no value": 2}


def test_values_of_several_kinds_are_an_error_that_counts_them(tmp_path: Path) -> None:
    rows = [_row("a", quality=1), _row("b", quality="2"), _row("c", quality=3)]
    words = (
        r"row.quality is number in 2 rows and text in 1 row of .*pool.jsonl; an expression reads"
    )
    with pytest.raises(ExpressionError, match=words):
        _pool(tmp_path, rows).select(rank="row.quality", budget="1")


def test_text_is_not_a_number(tmp_path: Path) -> None:
    pool = _pool(tmp_path, [_row("a", grade="good"), _row("b", grade="bad")])
    assert _names(pool, where="row.grade = 'good'") == ["a"]
    with pytest.raises(ExpressionError, match="this is number, but text is needed"):
        pool.examples(where="row.grade > 1")


def test_a_csv_column_with_a_word_in_it_is_text(tmp_path: Path) -> None:
    pool = _pool(tmp_path, [_row("a", q=1), _row("b", q="n/a")], "pool.csv")
    assert _names(pool, where="row.q = '1'") == ["a"]


def test_a_csv_column_of_numbers_in_python_s_notation_is_text(tmp_path: Path) -> None:
    pool = _pool(tmp_path, [_row("a", code="000_1"), _row("b", code="000_2")], "pool.csv")
    assert _names(pool, where="row.code = '000_2'") == ["b"]


def test_odd_numbers_and_surrogates_do_not_stop_reading(tmp_path: Path) -> None:
    rows = [_row("a", q=float("nan")), _row("b", q=1e300), _row("c", q=-1, note="\ud800")]
    assert _names(_pool(tmp_path, rows), by="row.q") == ["b", "c"]


def test_the_page_forget_and_plots_read_the_same_column(tmp_path: Path) -> None:
    pool = _pool(tmp_path, [_row(name, quality=value) for name, value in QUALITY.items()])
    assert pool.store.snapshot().matching("row.quality >= 0.7").sum() == 2
    with pytest.raises(ExpressionError, match=r"did you mean 'row.quality'"):
        pool.store.snapshot().matching("row.qualty > 1")
    assert "row.quality" in pool.plot.histogram("row.quality").svg
    assert pool.store.forget("row.quality < 0.5")["n_examples"] == 2
    assert _names(pool, by="row.quality") == ["b", "d"]


def test_row_is_no_name_for_a_score_set(tmp_path: Path) -> None:
    pool = _pool(tmp_path, [_row("a")])
    for name in ("row", "id", "messages"):
        with pytest.raises(ConfigError, match=f"--as {name} .* columns? of the pool"):
            pool.score("mtld", alias=name)
    with pytest.raises(CurateError, match="letters"):
        pool.score("mtld", alias="a.b")
