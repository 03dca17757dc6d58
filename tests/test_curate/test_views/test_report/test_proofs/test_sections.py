"""The page of a proof says what its document says."""

import json
from pathlib import Path

import pytest
from reported import parse, proof_document

from curate.errors import DataError

ROOT = Path(__file__).resolve().parents[5]
PROOFS = sorted((ROOT / "reports").glob("proof-*.json"))


def test_a_proof_needs_no_store_and_shows_every_part(proof_file, report):
    document, page = report(None, proof=proof_file())
    assert document["proof"].endswith("proof.json")
    text = parse(page).text
    for words in (
        "Verdicts", "Budget curve", "Slices", "Cost", "What was selected", "Run", "0.9000 ± 0.0100",
        "-0.1000 (-0.1200 to -0.0800)", "better", "0.0020", "NLL rewards a matching style.",
        "2 of 50 examples of target 'test' overlap with the pool, left out (1 example, 2 prompts,",
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


# What a reader sees first ------------------------------------------------------------------------


def verdicts_of(*verdicts: str) -> dict:
    """Return a proof of one budget with a method for each verdict."""
    names = [f"m{k}" for k in range(len(verdicts))]
    document = proof_document(methods=("random", *names), budgets=("10",))
    for name, verdict in zip(names, verdicts, strict=True):
        document["results"][0]["methods"][name]["verdict"] = verdict
    return document


def test_a_proof_begins_with_what_it_shows_in_a_sentence(proof_file, report):
    said = "On test, by loss, at a budget of 10: long beats random."
    _, page = report(None, proof=proof_file(proof_document(budgets=("10",))))
    assert f"<p class=lead>{said}</p>" in page and page.index(said) < page.index("<nav>")
    _, page = report(None, proof=proof_file(), as_markdown=True)
    assert f"\n\n- {said}\n- {said.replace('10:', '20:')}\n\n## Verdicts" in page


def test_verdicts_have_a_colour_and_a_sign_beside_their_words(proof_file, report):
    looks = {
        "better": "v-good>✓", "worse": "v-bad>✗", "no difference shown": "v-even>≈",
        "too few seeds": "v-open>?",
    }  # fmt: skip
    proof = proof_file(verdicts_of(*looks, "not applicable: <i>"))
    _, page = report(None, proof=proof)
    for verdict, look in looks.items():
        assert (
            page.count(f'<span class="v {look.replace(">", chr(34) + ">")} {verdict}</span>') == 2
        )
    for colour in ("good", "bad", "even"):
        assert page.count(f"--{colour}:#") == 2, "one for light pages and one for dark ones"
    assert ">not applicable: &lt;i&gt;</td>" in page
    _, page = report(None, proof=proof, as_markdown=True)
    for verdict, look in looks.items():
        assert page.count(f"| {look[-1]} {verdict} |") == 2


def test_what_repeats_for_another_budget_is_folded(proof_file, report):
    _, page = report(None, proof=proof_file())
    assert page.count("<summary>The same at 20</summary>") == 2, "the results and the costs"
    assert page.count("<h2>test at 10: NLL") == 1 and "<h2>test at 20" not in page
    shown = [part.split("</details>")[0] for part in page.split("<details class=fold>")[1:]]
    for words in ("its level", "scoring s", "slice (examples)", "package"):
        assert any(words in part for part in shown), words
    _, page = report(None, proof=proof_file(), as_markdown=True)
    assert page.count("<summary>The same at 20</summary>\n\n") == 2
    assert page.count("\n<details markdown") == page.count("\n</details>\n") == 6


def test_an_interval_that_was_not_corrected_says_so(proof_file, report):
    document = proof_document(budgets=("10",))
    del document["results"][0]["methods"]["long"]["delta_vs_random"]["level"]
    _, page = report(None, proof=proof_file(document))
    assert page.count("-0.1000 (-0.1200 to -0.0800, not corrected)") == 2


def test_the_proofs_of_the_repository_are_found():
    assert len(PROOFS) >= 4


@pytest.mark.parametrize("path", PROOFS)
def test_the_interval_of_a_verdict_leaves_out_zero_where_a_difference_is_shown(path):
    proof = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for result in proof["results"] for row in result["methods"].values()]
    judged = [(row["verdict"], row["delta_vs_random"]) for row in rows if row["delta_vs_random"]]
    assert judged
    for verdict, delta in judged:
        holds_zero = delta["ci_low"] <= 0 <= delta["ci_high"]
        assert holds_zero == (verdict == "no difference shown"), delta
        assert (delta["p_holm"] >= 0.05) == holds_zero and 0.95 <= delta["level"] < 1
