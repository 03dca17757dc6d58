"""The comparison of right and wrong solutions: what is read, drawn and measured."""

import json

import polars as pl
import pytest

from jobs.compare.pass_rate import agreement, drawn, measured, read

SOLUTIONS = [
    ("human", "so 4", "correct"),
    ("small", "it is 5", "incorrect"),
    ("large", "4.0", "correct"),
]


@pytest.fixture
def rows(tmp_path):
    table = [
        {"id": f"{n}-{model}", "prompt": f"question {n}", "response": text, "model": model,
         "label": label, "group": f"g{n}"}
        for n in range(6) for model, text, label in SOLUTIONS
    ]  # fmt: skip
    pl.DataFrame(table).write_parquet(tmp_path / "solutions.parquet")
    return read(tmp_path / "solutions.parquet")


def test_the_answer_of_a_question_is_the_humans(rows):
    assert rows["answer"].to_list() == ["4"] * 18
    assert rows["is_wrong"].sum() == 6 and rows["question"].n_unique() == 6
    assert len(set(drawn(rows, 3, 0))) == 3 and drawn(rows, 3, 0) == drawn(rows, 3, 0)


def test_agreement_is_the_share_of_samples_with_the_same_number(rows):
    texts = {f"question {n}": json.dumps(["4", "so 4", "5", "none"]) for n in range(5)}
    found = agreement(rows, texts)
    assert len(found) == 15
    assert set(found.filter("is_wrong")["value"]) == {0.25}
    assert set(found.filter(~pl.col("is_wrong"))["value"]) == {0.5}
    assert set(found["passes"]) == {0.5}
    line = measured("rate", found, 0)
    assert (line.area, line.low, line.high) == (1.0, 1.0, 1.0)
    assert (line.right, line.wrong, line.n, line.n_wrong) == (0.5, 0.25, 15, 5)
