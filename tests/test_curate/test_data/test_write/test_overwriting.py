"""An output never destroys an input, nor a file that we did not write, unless the user says so."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from curate.api.pool import Pool
from curate.data.write.overwriting import has_manifest, has_mark, refuse_overwriting
from curate.errors import DataError, StoreError
from curate.store import locks
from curate.store.parts import LOCK, TMP_MARK, owner
from curate.views.report.page import MADE_BY
from curate.views.report.proofs.files import is_proof

CHOOSE = {"method": "random", "budget": "1"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "response": "b"}) + "\n" for p in "abc"))
    return path


def test_an_output_that_is_an_input_is_refused_before_anything_is_read(
    data: Path, tmp_path: Path
) -> None:
    before = data.read_bytes()
    pool = Pool(tmp_path / "s.duckdb", create=True)
    spelled_otherwise = tmp_path / "." / ".." / tmp_path.name / "pool.jsonl"
    for output in (data, spelled_otherwise):
        with pytest.raises(DataError, match="is an input of this store and would be replaced"):
            pool.select(data=(str(data),), output=output, **CHOOSE)
    assert data.read_bytes() == before and len(pool) == 0


def test_an_input_is_refused_by_export_too_and_overwrite_replaces_it(
    data: Path, tmp_path: Path
) -> None:
    pool = Pool(tmp_path / "s.duckdb", create=True)
    chosen = pool.select(data=(str(data),), **CHOOSE)
    with pytest.raises(DataError, match="choose another place with -o, or replace it with --over"):
        chosen.export(data)
    chosen.export(data, overwrite=True)
    assert len(data.read_text().splitlines()) == 1


def test_a_file_of_somebody_else_is_refused_and_an_earlier_export_replaced(
    data: Path, tmp_path: Path
) -> None:
    pool = Pool(tmp_path / "s.duckdb", create=True)
    notes = tmp_path / "notes.jsonl"
    notes.write_text("mine\n")
    with pytest.raises(DataError, match=r"notes.jsonl exists and was not written by curate"):
        pool.select(data=(str(data),), output=notes, **CHOOSE)
    assert notes.read_text() == "mine\n"
    subset = tmp_path / "subset.jsonl"
    first = pool.select(data=(str(data),), output=subset, **CHOOSE)
    assert has_manifest(subset)
    first.export(subset)
    pool.select(output=subset, method="random", budget="2")
    assert len(subset.read_text().splitlines()) == 2


def test_a_folder_that_holds_an_input_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 'pool.jsonl', which is an input"):
        refuse_overwriting(tmp_path, [data], has_manifest)


def test_what_killed_exports_left_goes_with_the_next_to_the_same_place(
    data: Path, tmp_path: Path
) -> None:
    host, pid = owner().rpartition("-")[0], 999_999_999
    folder = tmp_path / f".out.jsonl{TMP_MARK}{host}-{pid}"
    folder.mkdir()
    (folder / "0.arrow").write_text("spooled")
    (folder / LOCK).touch()  # its owner held it, and is gone
    manifest = tmp_path / f".out.jsonl.manifest.json{TMP_MARK}{host}-{pid}"
    manifest.touch()
    other = tmp_path / f".other.jsonl{TMP_MARK}{host}-{pid}"
    other.touch()
    running = tmp_path / f".out.jsonl{TMP_MARK}{host}-{pid - 1}"
    running.mkdir()
    pool = Pool(tmp_path / "s.duckdb", create=True)
    with locks.held(running / LOCK):
        pool.select(data=(str(data),), output=tmp_path / "out.jsonl", **CHOOSE)
    left = {path for path in tmp_path.glob(f".*{TMP_MARK}*")}
    assert left == {other, running}, "of another output, and of an export that goes on"


def test_a_report_replaces_reports_alone(data: Path, tmp_path: Path) -> None:
    pool = Pool(tmp_path / "s.duckdb", create=True)
    pool.ingest(str(data))
    for name, options in (("r.html", {}), ("r.md", {"as_markdown": True})):
        page = tmp_path / name
        page.write_text("my thesis")
        with pytest.raises(DataError, match="was not written by curate"):
            pool.report(page, **options)
        pool.report(page, overwrite=True, **options)
        assert has_mark(MADE_BY)(page)
        pool.report(page, **options)


@pytest.mark.parametrize(
    ("document", "ours"), [({"methods": {}, "n_pool": 1, "seeds": 5}, True), ({"a": 1}, False)]
)
def test_the_document_of_a_proof_is_known(tmp_path: Path, document: Any, ours: bool) -> None:
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(document))
    assert is_proof(path) is ours


def test_an_export_that_fails_leaves_the_earlier_folder_as_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Pool(tmp_path / "s.duckdb", create=True).select(data=(str(data),), **CHOOSE)
    chosen.export(tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    chosen.export(tmp_path / "out")  # which replaces it
    assert {path: path.read_bytes() for path in before} == before

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("curate.data.write.rows.write_shards", full)
    with pytest.raises(StoreError, match="no space left to write .*nothing was written: free some"):
        chosen.export(tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not list(tmp_path.glob(f".out*{TMP_MARK}*"))
