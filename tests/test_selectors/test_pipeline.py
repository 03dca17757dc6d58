import json
from pathlib import Path

import pytest
from driven import drive

import curate as cu
from curate.api.reproduce import reproduce
from curate.contracts import Budget, Outcome, Select
from curate.contracts.progress import SilentProgress
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_procedure
from curate.select.marks import mark_examples

Pipeline = get_procedure("pipeline")


def steps_of(pipeline, budget: str | None, seed: int = 0) -> tuple[list[Select], Outcome]:
    return drive(pipeline, lambda step, number: {}, budget, seed)


def test_each_stage_selects_inside_the_one_before():
    steps, outcome = steps_of(build(Pipeline, {"keep": "50%"}), "5%", seed=3)
    assert steps == [
        Select("perplexity", "50%", {}, None, 3),
        Select("longest", "5%", {}, "Select-1", 3),
    ]
    assert outcome == Outcome("Select-2")


def test_shares_multiply_over_many_stages():
    stages = "random | perplexity(which=low) | longest | grape"
    steps, _ = steps_of(build(Pipeline, {"stages": stages, "keep": "50%"}), "100")
    assert [step.budget for step in steps] == ["50%", "25%", "12.5%", "100"]
    assert [step.within for step in steps] == [None, "Select-1", "Select-2", "Select-3"]
    steps, _ = steps_of(build(Pipeline, {"stages": stages, "keep": "50%,10%,100%"}), "1%")
    assert [step.budget for step in steps] == ["50%", "5%", "5%", "1%"]


def test_stages_take_settings_in_brackets():
    pipeline = Pipeline("ifd(variant=codeact) | top-k(rank=length.response_tokens, ascending=true)")
    steps, _ = steps_of(pipeline, "10%")
    assert steps[0].config == {"variant": "codeact"}
    assert steps[1].config == {"rank": "length.response_tokens", "ascending": "true"}


def test_last_stage_may_have_a_size_of_its_own():
    steps, _ = steps_of(Pipeline("random | grape"), None)
    assert steps[-1] == Select("grape", None, {}, "Select-1", 0)
    with pytest.raises(BudgetError, match="last stage of the pipeline, 'longest', needs a budget"):
        steps_of(Pipeline("random | longest"), None)


def test_a_stage_may_keep_all_that_it_chooses_by_itself():
    steps, _ = steps_of(Pipeline("dedup | perplexity | kmq", ("all", "20%")), "10%")
    assert [step.budget for step in steps] == [None, "20%", "10%"]
    steps, _ = steps_of(Pipeline("dedup | kmq", ("all",)), "60%")
    assert [step.budget for step in steps] == [None, "60%"]
    with pytest.raises(BudgetError) as caught:
        steps_of(Pipeline("random | kmq", ("all",)), "10%")
    assert str(caught.value) == (
        "pipeline.keep=all is what a stage chooses without a budget, and 'random' needs one; give its "
        "share in place of all, such as 50%"
    )


def test_a_share_of_what_reaches_a_stage_is_one_of_the_eligible():
    stages = "random | perplexity | longest"
    steps, _ = steps_of(Pipeline(stages, ("50%eligible",)), "5%")
    assert [step.budget for step in steps] == ["50%eligible", "50%eligible", "5%"]
    steps, _ = steps_of(Pipeline(stages, ("20%", "50% eligible")), "5%")
    assert [step.budget for step in steps] == ["20%", "50%eligible", "5%"]
    with pytest.raises(BudgetError, match="budget 30% is more than the 25% that reaches the last"):
        steps_of(Pipeline(stages, ("50%eligible",)), "30%")


def test_budget_over_what_is_kept_is_refused_before_any_work():
    with pytest.raises(BudgetError) as caught:
        steps_of(Pipeline("random | longest", ("20%",)), "30%")
    assert str(caught.value) == (
        "budget 30% is more than the 20% that reaches the last stage; keep more with "
        "--set pipeline.keep=30%, or use a smaller budget"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": "random"}, "pipeline 'random' has one stage; write at least two, like 'a | b'"),
        ({"stages": "random | "}, "cannot read stage '' of pipeline"),
        ({"stages": "random | long est"}, "cannot read stage 'long est' of pipeline"),
        ({"stages": "perplexity(low) | random"}, "cannot read setting 'low' in pipeline"),
        ({"keep": "50"}, "pipeline.keep='50' is not a share; write it like 50%"),
        ({"keep": "50%,50%"}, "pipeline.keep has 2 shares for 1 stages before the last"),
        ({"keep": "120%"}, "more than the whole pool"),
    ],
)
def test_pipeline_that_cannot_be_read_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(Pipeline, settings)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("random | longset", "no selector 'longset'; did you mean 'longest'"),
        ("random | pipeline", "no selector 'pipeline'"),
        ("perplexity(wich=low) | random", "perplexity has no field 'wich'; did you mean 'which'"),
        ("perplexity(which=loww) | random", "is not one of low, mid, high; did you mean 'low'"),
    ],
)
def test_every_stage_is_checked_before_the_first_runs(stages, message):
    with pytest.raises(ConfigError, match=message):
        next(Pipeline(stages).run(Budget(1), 0))


@pytest.mark.parametrize("within", [None, "marked-in-ana"])
def test_every_stage_is_scored_again(tmp_path: Path, within: str | None):
    rows = [{"prompt": f"say {n}", "response": "so " * (n % 7 + 1)} for n in range(28)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "s.duckdb", create=True)
    pool.ingest(str(tmp_path / "rows.jsonl"))
    pool.score("text_stats")
    longer = pool.sql("select id from examples where n_chars > 10")["id"].to_list()
    mark_examples(pool.store, "ana", longer, "in")
    stages = "top-k(rank=text_stats.n_words) | top-k(rank=n_chars, ascending=true)"
    chosen = pool.select(
        stages, budget=4, settings={"keep": "50%eligible"}, within=within,
        output=tmp_path / "out.jsonl",
    )  # fmt: skip
    again = reproduce(
        Path(chosen.document["manifest"]), store=None, output=None, rescore=True, workers=1,
        progress=SilentProgress(),
    )  # fmt: skip
    assert again["identical"], again["differences"]
    assert again["flipped"] == {"only_then": [], "only_now": []}
