"""`curate report`: the file it writes, what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from reported import parse, proof_document


def test_a_report_is_written_and_its_warnings_are_said(curate, pool_file: Path) -> None:
    curate("ingest", pool_file)
    chosen = curate("select", "--method", "random", "-b", "3", "--json").json
    ran = curate("report", "-o", "report.html", "--json")
    assert ran.code == 0
    document = ran.json
    assert set(document) == {
        "output", "format", "bytes", "selections", "proof", "warnings", "wall_s",
    }  # fmt: skip
    assert (document["output"], document["format"]) == ("report.html", "html")
    assert document["selections"] == [chosen["selection_id"]]
    assert all(set(one) == {"kind", "level", "text"} for one in document["warnings"])
    page = Path("report.html").read_text(encoding="utf-8")
    assert len(page.encode()) == document["bytes"]
    assert "26" in parse(page).text
    shown = curate("report", "-o", "report.html")
    assert shown.out.startswith("wrote report.html (")
    assert curate("report", "-o", "report.html", "-q").out.strip() == ""


def test_markdown_of_one_selection_against_a_benchmark(curate, pool_file: Path) -> None:
    curate("ingest", pool_file)
    chosen = curate("select", "--method", "random", "-b", "3", "--json").json["selection_id"]
    arguments = ("--selection", chosen[:8], "--benchmark", pool_file, "--md")
    ran = curate("report", "-o", "report.md", *arguments)
    assert ran.code == 0
    assert "warning: 26 of 26 examples of benchmark 'pool' overlap with 26 of the pool" in ran.out
    page = Path("report.md").read_text(encoding="utf-8")
    assert "## Selection: random 3\n" in page and f"| selection_id | {chosen} |" in page


def test_a_proof_alone_needs_no_store(curate) -> None:
    Path("proof.json").write_text(json.dumps(proof_document()), encoding="utf-8")
    ran = curate("report", "--proof", "proof.json", "-o", "proof.html", "--store", "none.duckdb")
    assert ran.code == 0
    assert not Path("none.duckdb").exists()
    assert "Verdicts" in Path("proof.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "r.md"), "give -o NAME.html; add --md for Markdown"),
        (("-o", "none/r.html"), "folder 'none' of the report does not exist; create it first"),
        (("-o", "r.html", "--selection", "no"), "no selection 'no' in the store"),
        (("-o", "r.html", "--proof", "no.json"), "cannot read proof 'no.json'"),
        (("-o", "r.html", "--benchmark", "no.jsonl"), "no.jsonl"),
        ((), "missing option '--output' / '-o'"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    curate, pool_file: Path, arguments: tuple[str, ...], words: str
) -> None:
    curate("ingest", pool_file)
    ran = curate("report", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert not list(Path.cwd().glob("r.*"))
    assert curate("report", "-o", "r.html", "--store", "none.duckdb").code == 1
