"""The page of a proof says what its document says."""

import json

import pytest
from reported import parse, proof_document

from curate.errors import DataError


def test_a_proof_needs_no_store_and_shows_every_part(proof_file, report):
    document, page = report(None, proof=proof_file())
    assert document["proof"].endswith("proof.json")
    text = parse(page).text
    for words in (
        "Verdicts", "Budget curve", "Slices", "Cost", "What was selected", "Run", "0.9000 ± 0.0100",
        "-0.1000 (-0.1200 to -0.0800)", "better", "0.0020", "NLL rewards a matching style.",
        "2 of 50 examples of target 'test' overlap with the pool, left out (1 examples, 2 prompts,",
        "curate prove --methods long", "-0.100 (-0.200 to +0.050)", "tiny", "1.25",
    ):  # fmt: skip
        assert words in text, words
    assert page.count("<svg") == 9  # 2 budgets x 2, the curve, slices, 2 costs, overlap


def test_markdown_has_the_numbers_of_the_charts_once(proof_file, report):
    _, page = report(None, proof=proof_file(), as_markdown=True)
    assert "| method | 10 | 20 |\n|---|---:|---:|\n| random | 1 | 1 |\n| long | 0.9 | 0.9 |" in page
    assert page.count("| source: a (30) |") == 1
    assert "<svg" not in page


def test_one_budget_has_no_curve(proof_file, report):
    _, page = report(None, proof=proof_file(proof_document(budgets=("10%",))))
    assert "Budget curve" not in page


def test_a_method_that_could_not_choose_has_no_point(proof_file, report):
    document = proof_document()
    refused = {
        "verdict": "not applicable: budget is too large", "mean": None, "spread": None,
        "ci_low": None, "ci_high": None, "values": [], "delta_vs_random": None,
    }  # fmt: skip
    for one in document["results"]:
        one["methods"]["long"] = refused
    _, page = report(None, proof=proof_file(document))
    text = parse(page).text
    assert "not applicable: budget is too large" in text
    assert "no value" in text


def test_names_of_a_proof_are_escaped(proof_file, report):
    name = "<script>document.title='flag'</script>"
    document = proof_document(methods=("random", name), budgets=(name, "20"))
    document["targets"][0]["name"] = name
    document["statements"] = [name, "\ud800"]
    _, page = report(None, proof=proof_file(document))
    assert "script" not in parse(page).names()
    assert name in parse(page).text


def test_a_proof_with_selections_needs_both(colours, proof_file, report):
    chosen = colours.select("random", budget=3)
    document, page = report(colours, proof=proof_file(), selections=(chosen.id,))
    assert document["selections"] == [chosen.id]
    assert page.index("Verdicts") < page.index("<h2>Pool")


def test_what_is_not_a_proof_is_refused(tmp_path, report):
    path = tmp_path / "x.json"
    with pytest.raises(DataError, match=r"cannot read proof .*x.json': No such file"):
        report(None, proof=path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"is not valid JSON.*curate prove -o NAME.md writes"):
        report(None, proof=path)
    for other in ([], {}, {"model": "m"}):
        path.write_text(json.dumps(other), encoding="utf-8")
        with pytest.raises(DataError, match="is not a proof: it lacks"):
            report(None, proof=path)
