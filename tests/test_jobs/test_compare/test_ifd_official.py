"""Our ratios against a loop of our own that follows the published procedures."""

import json

import numpy as np
import polars as pl
import pytest

from jobs.compare.ifd_official import COLUMNS, agreement, alpaca_rows, main, published, scored

ROWS = [
    {"instruction": "Say the words again.", "input": "the cat sat on the mat", "output": "the cat sat"},
    {"instruction": "Write a poem.", "input": "", "output": "blue sea, blue sky"},
    {"instruction": "Sum up.\n\nBe brief.", "input": "one\n\ntwo", "output": "one, two"},
]  # fmt: skip


def frame(n: int) -> pl.DataFrame:
    rows = [
        {"prompt": f"say {i}\n\nwords {i}" if i % 2 else f"say {i}", "response": f"words {i}",
         "meta": json.dumps({"has_input": i % 2 == 1})}
        for i in range(n)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_half_of_the_rows_have_an_input():
    rows = alpaca_rows(frame(40), 10)
    assert sum(bool(row["input"]) for row in rows) == 5
    assert all(row["input"].startswith("words") for row in rows if row["input"])
    assert not any("\n\n" in row["instruction"] for row in rows)


def test_agreement_by_hand():
    found = agreement(np.array([1.0, 2.0, 3.0, np.nan]), np.array([3.0, 1.0, 2.5, 9.0]))
    assert found == (pytest.approx(-0.5), 0.0, 2.0)


def test_both_variants_are_the_published_ratios_with_an_input_and_without(roomy_model, tmp_path):
    theirs = list(published(str(roomy_model), ROWS))
    for variant in COLUMNS:
        ours = scored(tmp_path, ROWS, str(roomy_model), variant)
        expected = [row[variant] for row in theirs]
        assert ours == pytest.approx(expected, rel=1e-5), variant


@pytest.mark.slow
def test_the_page_compares_with_what_the_official_scripts_gave(roomy_model, tmp_path, capsys):
    frame(20).write_parquet(tmp_path / "rows.parquet")
    figures = [{"cherry": 0.9 + i / 100, "superfiltering": 0.8 + i / 100} for i in range(6)]
    (tmp_path / "official.jsonl").write_text("".join(json.dumps(row) + "\n" for row in figures))
    main(
        [
            f"--data={tmp_path / 'rows.parquet'}", f"--model={roomy_model}", "--rows=6",
            f"--official={tmp_path / 'official.jsonl'}", f"--write-rows={tmp_path / 'rows.jsonl'}",
        ]
    )  # fmt: skip
    page = capsys.readouterr().out
    assert "| cherry | 6 all | now | 0.9250 |" in page and "| 3 with input |" in page
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 6
