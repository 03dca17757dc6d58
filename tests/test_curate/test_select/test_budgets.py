"""A budget that is a share says of what it is, and what it comes to."""

import json
from pathlib import Path

import pytest
from noted import Noted

from curate.api.pool import Pool
from curate.api.reproduce import reproduce
from curate.contracts.budget import Budget
from curate.contracts.progress import SilentProgress
from curate.errors import BudgetError
from curate.prove.config import ProveConfig
from curate.prove.run import _budgets
from curate.scoring.options import ScoringOptions

FEW = "row.i < 25"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    rows = [{"prompt": f"question {i}", "response": "x" * (i % 7 + 1), "i": i} for i in range(100)]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool(tmp_path / "s.duckdb", create=True, progress=Noted())
    pool.ingest(str(path))
    return pool


def test_a_share_of_the_pool_says_what_it_comes_to_once(pool: Pool) -> None:
    pool.select("random", budget="10%", where=FEW)
    assert [note for note in pool.progress.said if note.startswith("budget")] == [
        "budget 10% of the pool = 10 of 100 examples; 25 are left to the method (10%eligible = 2)"
    ]
    pool.progress.said.clear()
    pool.select("random", budget="10%")
    assert not [note for note in pool.progress.said if note.startswith("budget")]


def test_a_share_of_the_eligible_is_recorded_and_reproduced(pool: Pool, tmp_path: Path) -> None:
    output = tmp_path / "few.jsonl"
    chosen = pool.select("random", budget="20%eligible", where=FEW, output=output)
    assert (chosen.document["budget"], chosen.document["n_selected"]) == ("20%eligible", 5)
    manifest = Path(chosen.document["manifest"])
    assert json.loads(manifest.read_text())["budget"] == "20%eligible"
    again = reproduce(
        manifest, store=None, output=None, rescore=False, workers=None, progress=SilentProgress()
    )
    assert again["identical"], again["differences"]


def test_too_large_a_share_of_the_pool_names_that_of_the_eligible(pool: Pool) -> None:
    with pytest.raises(BudgetError, match=r"asks for 50 .* only 25 .*; give at most --budget 25, "
                       r"or a share of the eligible ones: --budget 50%eligible"):  # fmt: skip
        pool.select("random", budget="50%", where=FEW)


def test_the_stages_of_a_pipeline_share_what_was_eligible_for_the_first(pool: Pool) -> None:
    chosen = pool.select(
        "top-k(rank=n_chars) | random", budget="20%eligible", where=FEW,
        settings={"keep": "20%"},
    )  # fmt: skip
    assert chosen.document["n_selected"] == 5


def test_a_stage_of_a_pipeline_keeps_a_share_of_what_reaches_it(pool: Pool) -> None:
    stages = "top-k(rank=n_chars) | top-k(rank=n_chars, ascending=true) | random"
    half = {"keep": "50%eligible"}
    chosen = pool.select(stages, budget=6, where=FEW, settings=half)
    assert chosen.document["n_selected"] == 6
    with pytest.raises(BudgetError, match="only 6 are eligible"):
        pool.select(stages, budget=7, where=FEW, settings=half)
    with pytest.raises(BudgetError, match="asks for 50 examples, but only 25 are eligible"):
        pool.select(stages, budget=6, where=FEW)


def test_all_methods_of_a_proof_have_one_number(pool: Pool) -> None:
    config = ProveConfig(("longest",), ("20%eligible", "10%"), where=FEW)
    assert _budgets(pool.store, config, ScoringOptions()) == ("5", "10%")


def test_the_unit_is_read_and_written() -> None:
    assert Budget.parse("10%eligible") == Budget(0.1, "eligible-share")
    assert str(Budget.parse("12.5% Eligible")) == "12.5%eligible"
    with pytest.raises(
        BudgetError, match=r"cannot read budget '10eligible'; write 10% .*10%eligible"
    ):
        Budget.parse("10eligible")
    with pytest.raises(BudgetError, match="budget 110%eligible is more than"):
        Budget.parse("110%eligible")
