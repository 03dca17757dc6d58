"""Auto-Correct: as a sequence of steps, from made-up results."""

import pytest
from driven import drive

from curate import BudgetError, ConfigError, Generate, Judge, Revise, Select, Train
from curate_selectors.clear_correct import ClearCorrect

FACTS = {
    Select: {"n_pool": 20, "n_eligible": 20, "n_selected": 10, "n_tokens": 100},
    Generate: {"n_rows": 10, "failed": {"empty": 2}},
    Judge: {"mass": 0.2},
    Revise: {"n_replaced": 0},
}


def steps_of(procedure, budget=None, **facts):
    """Run a procedure with made-up results; return its steps and its outcome."""
    return drive(procedure, lambda step, _: {**FACTS.get(type(step), {}), **facts}, budget)


def test_filter_train_write_judge_revise():
    steps, outcome = steps_of(ClearCorrect(epochs=2, max_new_tokens=9))
    kept, trained, rest, written, judged, revised = steps
    assert (kept.method, kept.budget, kept.without) == ("clear", None, ())
    assert isinstance(trained, Train) and trained.selection == "Select-1"
    assert trained.settings["length.epochs"] == 2 and trained.settings["optimiser.lr"] == 1e-5
    assert rest.config["keep_fraction"] == 1.0 and rest.without == ("Select-1",)
    assert written == Generate("Train-2", "Select-3", 9, 0.0, 7)
    assert judged == Judge("Generate-4", "logits", "logits", 5, 9, seed=7)
    assert revised == Revise("Select-1", "Judge-5", 0.8, None)
    assert outcome.selection_id == "Revise-6"


def test_all_responses_are_questioned_where_that_is_asked_for():
    assert steps_of(ClearCorrect(correct_scope="all"))[0][2].without == ()


def test_a_budget_is_what_the_filter_keeps_and_the_size_of_the_result():
    steps, _ = steps_of(ClearCorrect(), "50%")
    assert steps[0].budget == "50%"
    assert steps[-1].limit == 10


def test_the_options_of_the_filter_are_passed_on():
    own = ClearCorrect(consistency="embed", keep_fraction=0.3, reflection="generate")
    [kept, _, rest, *_] = steps_of(own)[0]
    assert kept.config == {
        "consistency": "embed", "confidence.reflection": "generate", "keep_fraction": 0.3,
    }  # fmt: skip
    assert rest.config == {**kept.config, "keep_fraction": 1.0}


def test_a_judge_that_hardly_ever_says_a_letter_is_refused():
    facts = {"mass": 0.0005, "n_eligible": 20, "n_selected": 10, "n_rows": 10, "failed": {}}
    with pytest.raises(ConfigError) as refused:
        steps_of(ClearCorrect(), **facts)
    assert str(refused.value) == (
        "the judge's letters A, B and C carry 0.0005 of the probability (median), less than "
        "clear-correct.least_mass=0.01: what is left between them is noise; let it write its verdicts "
        "with --set clear-correct.mode=sample, judge with another --model, or accept this with "
        "--set clear-correct.least_mass=0"
    )
    assert steps_of(ClearCorrect(least_mass=0.0), **facts, n_replaced=1)[1].warnings
    with pytest.raises(ConfigError, match="least_mass is a probability, got 2"):
        ClearCorrect(least_mass=2.0)


def test_what_is_no_candidate_little_mass_and_no_replacement_are_warned_of():
    _, outcome = steps_of(ClearCorrect())
    assert [warning.split(":")[0] for warning in outcome.warnings] == [
        "2 of 10 answers are no candidates",
        "the judge's letters carry 0.20 of the probability (median)",
        "no candidate was judged better with a confidence above 0.8",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eta": 1.0}, "eta is a confidence from 0 up to less than 1, got 1.0; try 0.8"),
        ({"keep_fraction": 1.0}, "keep_fraction is a share above 0 and below 1, got 1.0; try 0.5"),
        ({"k": 0}, "clear-correct.k must be at least 1, got 0"),
        ({"max_new_tokens": 0}, "clear-correct.max_new_tokens must be at least 1, got 0"),
    ],
)
def test_wrong_settings_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        ClearCorrect(**fields)


def test_budgets_that_cannot_be_met_are_named():
    with pytest.raises(
        BudgetError, match="counts examples, got budget 2000000tok.*give 50% or 5000"
    ):
        steps_of(ClearCorrect(), "2Mtok")
    with pytest.raises(
        BudgetError, match="budget 100% keeps all 20 examples.*leaves none to correct"
    ):
        steps_of(ClearCorrect(), "100%", n_selected=20)
