"""A dry run refuses what the run would refuse, says what it would cost, and leaves nothing behind."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from curate.api.pool import Pool
from curate.errors import CurateError


def _rows(path: Path, n: int = 30) -> Path:
    rows = [{"prompt": f"p {i}", "response": "x" * (i % 5 + 1), "i": i} for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    pool = Pool(tmp_path / "s.duckdb", create=True)
    pool.ingest(str(_rows(tmp_path / "own.jsonl")))
    return pool


@pytest.mark.parametrize(
    "options",
    [
        {"method": "ifd", "budget": 3},
        {"rank": "likelihood.mean_logp", "budget": 3},
        {"method": "random", "budget": 31},
        {"method": "random", "budget": "50%", "where": "row.i < 10"},
        {"method": "random", "budget": 3, "where": "row.j < 10"},
        {"method": "random", "budget": 3, "quota": {"own": "50%"}},
        {"method": "random", "budget": 3, "mix": {"own": "50%", "other": "50%"}},
        {"method": "random"},
        {"method": "random", "budget": "10%tok"},
        {"method": "rds-plus", "budget": 3},
        {"method": "perplexity | longest", "budget": 3},
        {"method": "kmq-iterative", "budget": 9},
        {"method": "random | random", "budget": 31, "settings": {"keep": "all"}},
    ],
)
def test_what_the_run_refuses_the_plan_refuses(pool: Pool, options: dict[str, Any]) -> None:
    with pytest.raises(CurateError) as of_plan:
        pool.select(**options, dry_run=True)
    with pytest.raises(CurateError) as of_run:
        pool.select(**options)
    assert type(of_plan.value) is type(of_run.value)
    if "|" not in str(options.get("method")) and options.get("method") != "kmq-iterative":
        assert str(of_plan.value) == str(of_run.value)


def test_a_plan_says_what_a_share_comes_to_and_what_is_read(pool: Pool, tiny_model: Path) -> None:
    plan = pool.select(
        "ifd", budget="10%", where="row.i < 20", model=str(tiny_model), dry_run=True
    ).plan_text()
    assert "budget 10% of the pool = 3 of 30 examples; 20 are left to the method (10%" in plan
    assert "ifd: one pass over 30 examples" in plan
    assert pool.store.score_sets() == []


def test_the_steps_of_a_pipeline_have_their_costs(pool: Pool, tiny_model: Path) -> None:
    planned = pool.select(
        "perplexity | longest", budget=3, model=str(tiny_model), dry_run=True
    ).document
    first, second = [step["text"] for step in planned["steps"]]
    assert first.startswith("select 15 by perplexity: likelihood: 30 examples, ")
    assert second.startswith("select 3 by longest: length: 30 examples")
    assert planned["scored_tokens"] > 0
    assert f"together about {planned['scored_tokens']:,} tokens to score" in planned["text"]
    assert pool.store.score_sets() == []


def test_a_procedure_that_trains_says_on_how_many_tokens(pool: Pool, tiny_model: Path) -> None:
    planned = pool.select(
        "kmq-iterative", budget=9, model=str(tiny_model), dry_run=True,
        settings={"k": 2, "rounds": 2},
    ).document  # fmt: skip
    texts = [step["text"] for step in planned["steps"]]
    assert any(text.startswith(f"train {tiny_model} on ") for text in texts)
    assert planned["trained_tokens"] > 0
    assert not (pool.store.parts / "procedures").exists()


def test_data_that_is_not_in_the_store_is_planned_and_not_ingested(
    pool: Pool, tmp_path: Path
) -> None:
    more = _rows(tmp_path / "more.jsonl", 40)
    before = sorted(path for path in tmp_path.rglob("*") if path != pool.store.path)
    with pytest.raises(CurateError, match="asks for 41 examples, but only 40 are eligible"):
        pool.select("random", data=str(more), budget=41, dry_run=True)
    assert "random" in pool.select("random", data=str(more), budget=40, dry_run=True).plan_text()
    assert [dataset.name for dataset in pool.store.datasets()] == [str(tmp_path / "own.jsonl")]
    assert sorted(path for path in tmp_path.rglob("*") if path != pool.store.path) == before
    known = tmp_path / "own.jsonl"
    assert "random" in pool.select("random", data=str(known), budget=30, dry_run=True).plan_text()


def test_a_dry_run_makes_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from curate.cli import main

    _rows(tmp_path / "own.jsonl")
    monkeypatch.chdir(tmp_path)
    given = ["curate", "select", "own.jsonl", "--method", "random", "-b", "3", "--dry-run"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    assert "method random, budget 3" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["own.jsonl"]
