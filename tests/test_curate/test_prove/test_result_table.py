"""A proof's results as rows of text."""

from curate.prove.result_table import VERDICTS, result_rows, verdict_rows

DELTA = {"mean": -0.25, "ci_low": -0.5, "ci_high": -0.125, "level": 0.975}
METHODS = {
    "random": {
        "mean": 2.0, "spread": 0.5, "ci_low": 1.5, "ci_high": 2.5, "verdict": "the baseline",
        "delta_vs_random": None,
    },
    "longest": {
        "mean": 1.75, "spread": 0.25, "ci_low": 1.5, "ci_high": 2.0, "verdict": "better",
        "delta_vs_random": DELTA,
    },
    "ifd": {"mean": None, "verdict": "not applicable: no model", "delta_vs_random": None},
}  # fmt: skip
RESULT = {"target": "held-out", "budget": "10%", "metric": "nll", "methods": METHODS}


def test_a_verdict_has_a_row_for_each_method_but_random_under_its_columns():
    rows = verdict_rows({"results": [RESULT, {**RESULT, "metric": "exact_match"}]})
    assert rows == [
        ("held-out", "10%", metric, *words)
        for metric in ("NLL", "exact match")
        for words in (
            ("longest", "better", "-0.2500 (-0.5000 to -0.1250)"),
            ("ifd", "not applicable: no model", "-"),
        )
    ]
    assert {len(row) for row in rows} == {len(VERDICTS)}


def test_a_result_has_a_row_for_each_method_and_dashes_where_nothing_was_measured():
    assert result_rows(RESULT) == [
        ("random", "2.0000 ± 0.5000", "1.5000 to 2.5000", "-", "the baseline"),
        (
            "longest",
            "1.7500 ± 0.2500",
            "1.5000 to 2.0000",
            "-0.2500 (-0.5000 to -0.1250)",
            "better",
        ),
        ("ifd", "-", "-", "-", "not applicable: no model"),
    ]
