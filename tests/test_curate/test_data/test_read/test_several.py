"""A row with a list of responses: an example for each, and rows that read the same when written out."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.api.pool import Pool
from curate.data.read.binding import bound_chunks
from curate.data.read.ingest import IngestOptions, IngestReport, ingest
from curate.data.read.sources import resolve
from curate.errors import DataError
from curate.store import Store

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "responses": ["one", "two", "three"], "level": 3},
    {"prompt": "b", "responses": ["four"], "level": 1},
    {"prompt": "c", "responses": ["five", "six"], "level": 2},
]
EACH = [("a", "one"), ("a", "two"), ("a", "three"), ("b", "four"), ("c", "five"), ("c", "six")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def write(folder: Path, container: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"pool.{container}"
    if container == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(store: Store, path: Path, **options: Any) -> IngestReport:
    (report,) = ingest(store, str(path), IngestOptions(**options))
    return report


def pairs(store: Store) -> list[tuple[str, str]]:
    listed = store.read(
        "select e.prompt, e.response from rows r join examples e using (id) order by r.position"
    ).to_pylist()
    return [(row["prompt"], row["response"]) for row in listed]


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_each_response_is_an_example_of_the_same_instruction(
    store: Store, tmp_path: Path, container: str
) -> None:
    report = run(store, write(tmp_path, container, ROWS))
    assert (report.format, report.n_read, report.n_added) == ("prompt-responses", 6, 6)
    assert pairs(store) == EACH
    assert store.status()["n_groups"] == 3


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_a_selected_response_goes_out_in_a_row_of_its_own(tmp_path: Path, container: str) -> None:
    path = write(tmp_path, container, ROWS)
    out = tmp_path / f"out.{container}"
    Pool(tmp_path / "s.duckdb", create=True).select(
        data=str(path), rank="length(response)", where="response != 'four'", budget="2", output=out
    )
    if container == "parquet":
        kept = pq.read_table(out).to_pylist()
    else:
        kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert kept[0] == {"prompt": "a", "responses": ["three"], "level": 3}
    report = run(Store(tmp_path / "again.duckdb"), out)
    assert (report.format, report.n_added) == ("prompt-responses", 2)


def test_positions_of_bad_rows_and_places_are_those_of_the_file(
    store: Store, tmp_path: Path
) -> None:
    rows = [ROWS[0], {"prompt": "d", "responses": []}, {"prompt": 7, "responses": ["x"]}, ROWS[2]]
    report = run(store, write(tmp_path, "jsonl", rows), on_error="skip")
    assert (report.n_read, report.n_added, report.n_failed) == (7, 5, 2)
    path = next(store.parts.glob("skipped/*.parquet"))
    skipped = pq.read_table(path).to_pylist()
    at = [(row["position"], row["place"].rpartition(" line ")[2]) for row in skipped]
    assert at == [(3, "2"), (4, "3")]
    assert skipped[0]["reason"] == "responses has 0 responses; at least one is needed"


def test_a_fixed_size_list_says_what_it_should_be(store: Store, tmp_path: Path) -> None:
    responses = pa.array([["x", "y"]], pa.list_(pa.string(), 2))
    table = pa.table({"prompt": ["a"], "responses": responses})
    pq.write_table(table, tmp_path / "pool.parquet")
    with pytest.raises(DataError, match="cannot hold a single response; make it a list of texts"):
        run(store, tmp_path / "pool.parquet")


def test_the_id_of_a_row_is_not_called_repeated_by_its_responses(
    store: Store, tmp_path: Path
) -> None:
    rows = [{"id": str(i), **row} for i, row in enumerate(ROWS)]
    assert run(store, write(tmp_path, "jsonl", rows)).warnings == ()


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_an_id_that_two_rows_have_is_called_repeated_once(
    store: Store, tmp_path: Path, container: str
) -> None:
    rows = [{"id": name, **row} for name, row in zip("xyx", ROWS, strict=True)]
    [warning] = run(store, write(tmp_path, container, rows)).warnings
    assert warning.startswith("1 row repeats the id of an earlier row (first: rows 0 and 4,")


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_split_rows_come_in_chunks_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, container: str
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "p" * 10_000, "responses": [f"{i} {k}" for k in range(300)]} for i in range(2)
    ]
    path = write(tmp_path, container, [*rows, ROWS[1]])
    monkeypatch.setattr("curate.data.read.several.MAX_BYTES", 1_000_000)
    monkeypatch.setattr("curate.data.read.several.MAX_ROWS", 250)
    chunks = [chunk for chunk, _ in bound_chunks(resolve(str(path)))]
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) < 110 and sum(sizes) == 601
    assert [at for chunk in chunks for at in chunk.positions] == list(range(601))
    said = [value for chunk in chunks for value in chunk.values("responses")]
    assert said == [[text] for row in [*rows, ROWS[1]] for text in row["responses"]]
    first = {at for chunk in chunks for at in chunk.positions} - {
        at for chunk in chunks for at in chunk.continued
    }
    assert first == {0, 300, 600}


def test_bad_lines_keep_their_place_among_the_pieces_of_a_chunk(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "pool.jsonl"
    lines = ["{", json.dumps(ROWS[0]), "{", json.dumps(ROWS[2]), "{"]
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("curate.data.read.several.MAX_ROWS", 2)
    report = run(store, path, on_error="skip")
    assert (report.n_read, report.n_added, report.n_failed) == (8, 5, 3)
    skipped = pq.read_table(next(store.parts.glob("skipped/*.parquet"))).to_pylist()
    at = [(row["position"], row["place"].rpartition(" line ")[2]) for row in skipped]
    assert at == [(0, "1"), (4, "3"), (7, "5")]
    other = Store(tmp_path / "limited.duckdb")
    assert run(other, path, on_error="skip", limit=2).n_read == 4  # of the input: the first two


def test_many_responses_to_one_prompt_are_never_repeated_whole(tmp_path: Path) -> None:
    """Each list in all of its own rows would be 2 GiB, more than one Arrow array holds."""
    rows = [
        {"prompt": f"{i}", "responses": [f"{k} {'r' * 600}" for k in range(300)]} for i in range(45)
    ]
    chunks = bound_chunks(resolve(str(write(tmp_path, "jsonl", rows))))
    assert sum(len(chunk) for chunk, _ in chunks) == 45 * 300


@pytest.mark.parametrize("container", ["jsonl", "parquet"])
def test_a_list_may_be_json_text_and_stays_so(store: Store, tmp_path: Path, container: str) -> None:
    rows = [{**row, "responses": json.dumps(row["responses"])} for row in ROWS]
    answer = {"prompt": "d", "responses": "[1, 2]", "level": 0}
    path = write(tmp_path, container, [*rows, answer])
    run(store, path)
    assert pairs(store) == [*EACH, ("d", "[1, 2]")]
    [(chunk, _)] = bound_chunks(resolve(str(path)))
    assert chunk.values("responses")[0] == '["one"]'


def test_a_list_in_a_cell_of_csv_is_refused_where_it_has_several(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "pool.csv"
    path.write_text('prompt,responses\na,"[""one"", ""two""]"\nb,"[""three""]"\n')
    report = run(store, path, on_error="skip")
    assert pairs(store) == [("b", "three")]
    said = (
        f"{path} line 2: responses lists 2 responses in one cell of CSV, which holds one; give each"
    )
    assert any(said in warning for warning in report.warnings)


@pytest.mark.parametrize(("item", "named"), [(None, "null"), (7, "a number"), ({}, "an object")])
def test_an_item_that_is_no_response_is_named(
    store: Store, tmp_path: Path, item: Any, named: str
) -> None:
    path = write(tmp_path, "jsonl", [{"prompt": "a", "responses": ["x", item]}])
    with pytest.raises(
        DataError, match=f"responses holds {named}; each response is a text or a list of turns"
    ):
        run(store, path)
