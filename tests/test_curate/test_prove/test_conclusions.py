"""A proof in plain sentences."""

from typing import Any

import pytest

from curate.prove.conclusions import conclusions


def result(metric: str = "nll", **verdicts: str) -> dict[str, Any]:
    arms = {name: {"verdict": verdict} for name, verdict in verdicts.items()}
    methods = {"random": {"verdict": "the baseline"}, **arms}
    return {"target": "test", "budget": "1000", "metric": metric, "methods": methods}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({"ifd": "better", "kmq": "better"}, "ifd and kmq beat random"),
        ({"ifd": "worse", "longest": "worse"}, "ifd and longest do worse than random"),
        ({"ifd": "no difference shown"}, "no difference is shown for ifd"),
        ({"ifd": "too few seeds"}, "the seeds are too few to judge ifd"),
        (
            {"ifd": "better", "kmq": "worse", "s2l": "no difference shown", "d4": "not applicable: d4 needs a target"},
            "ifd beats random, kmq does worse, no difference is shown for s2l, d4 does not apply",
        ),
    ],
)  # fmt: skip
def test_each_verdict_has_its_words(verdicts: dict[str, str], said: str):
    expected = f"On test, by loss, at a budget of 1000: {said}."
    assert conclusions({"results": [result(**verdicts)]}) == [expected]


def test_every_result_has_a_sentence():
    found = conclusions({"results": [result(ifd="better"), result("exact_match", ifd="worse")]})
    assert found[1] == "On test, by exact match, at a budget of 1000: ifd does worse than random."
