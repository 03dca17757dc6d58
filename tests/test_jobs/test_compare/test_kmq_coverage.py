"""What the comparison of kMQ with random draws counts, and its page."""

import numpy as np
import polars as pl
import pytest

from jobs.compare.kmq_coverage import Measured, entropy, main, measure, spread


def test_entropy_by_hand():
    assert entropy(np.array([5, 5, 0, 0])) == pytest.approx(np.log(2))
    assert entropy(np.array([7, 7, 7])) == pytest.approx(np.log(3))
    assert entropy(np.array([9, 0])) == 0


def test_tasks_without_a_pick_count_as_the_least_represented():
    tasks = {f"id{n}": n % 20 for n in range(100)}
    everything = measure(tasks, list(tasks), 20)
    assert everything == Measured(20, pytest.approx(np.log(20)), 10)
    assert measure(tasks, ["id0", "id1", "id21"], 20).covered == 2
    assert measure(tasks, ["id0", "id1", "id21"], 20).smallest == 0


def test_spread_is_mean_deviation_and_range():
    assert spread([1, 2, 3], 1) == "2.0 ± 1.0 (1.0 to 3.0)"
    assert spread([4.0], 2) == "4.00 ± 0.00 (4.00 to 4.00)"


@pytest.mark.slow
def test_the_page_has_every_arm_and_the_command(tiny_model, tmp_path, capsys):
    words = ("cat", "sea", "mat", "poem", "blue")
    rows = [
        {"id": str(n), "prompt": f"say {words[n % 5]} {n}", "response": f"{words[n % 5]} {n}",
         "label": f"task {n % 5}"}
        for n in range(60)
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    options = {"data": tmp_path / "rows.parquet", "model": tiny_model, "out": tmp_path}
    main(
        [
            *(f"--{name}={value}" for name, value in options.items()),
            "--budget=10",
            "--seeds=2",
            "--k=2",
        ]
    )
    page = (tmp_path / "kmq-coverage.md").read_text(encoding="utf-8")
    assert "60 examples of 5 tasks" in page and f"--data={tmp_path / 'rows.parquet'}" in page
    assert "the whole pool: 5 tasks, entropy 1.6094 nats" in page
    arms = [line for line in page.splitlines() if line.startswith(("| random", "| kmq"))]
    assert len(arms) == 5 and all("of 2" in line for line in arms[1:])
    assert page in capsys.readouterr().out
