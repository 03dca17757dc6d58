"""The page of the worked example and the script that writes its figures agree on the commands."""

from pathlib import Path
from typing import Any

import pytest

from jobs.worked_example import PAGE, Example, commands


def test_the_page_has_a_place_for_all_that_its_commands_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in ("own", "best", "diverse", "mixed"):
        (tmp_path / f"{name}.jsonl").write_text('{"answer": "four", "category": "math"}\n')
    arm = {"mean": 3.4, "verdict": "the baseline", "delta_vs_random": None}
    gain = {"mean": -0.1375, "ci_low": -0.5, "ci_high": 0.25}
    printed: dict[str, dict[str, Any]] = {
        "select": {"n_pool": 7, "n_excluded": {"truncated": 2}},
        "train": {"history": {"loss": [3.0, 2.0, 1.0]}, "evaluations": [{"nll": 2.5}]},
        "export": {},
        "prove": {"seeds": 5, "methods": {"random": arm, "ifd": {**arm, "delta_vs_random": gain}}},
    }
    ran: list[str] = []

    def run(self: Example, line: str, *, fails: bool = False) -> dict[str, Any]:
        ran.append(line)
        return {"error": {"type": "T", "message": "m"}} if fails else printed[line.split()[1]]

    monkeypatch.setattr(Example, "run", run)
    parts = dict(Example(tmp_path).parts(list(commands(text))))
    assert ran == list(commands(text))
    assert [line.split()[1] for line in ran] == [
        "select", "select", "select", "select", "train", "export", "prove", "select",
    ]  # fmt: skip
    for name, words in parts.items():
        assert f"<!-- {name}:begin -->\n" in text and words.endswith("\n")
    assert parts["kept"].splitlines()[2:4] == [
        "| rows | 1 | 1 | 1 | 1 |",
        "| math | 100% | 100% | 100% | 100% |",
    ]
    assert parts["kept"].endswith("Of the 7 rows, `ifd` leaves out 2 (truncated).\n")
    assert "first three is 2.00 nats a token, that of the last three 2.00" in parts["trained"]
    assert "| `ifd` | 3.400 | -0.138 (-0.500 to +0.250) | the baseline |" in parts["proved"]
