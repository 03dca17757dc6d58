import numpy as np
import pytest

from curate.contracts import Budget, View
from curate.errors import BudgetError
from curate.registry import get_selector

PVI = get_selector("pvi")


def view_of(given, null, tokens=None, null_tokens=None, cut=()):
    n = len(given)
    tokens = np.full(n, 4) if tokens is None else np.array(tokens)
    columns = {
        "given.sum_logp": np.array(given, float), "null.sum_logp": np.array(null, float),
        "given.n_tokens": tokens,
        "null.n_tokens": tokens if null_tokens is None else np.array(null_tokens),
        "given.truncated": np.isin(np.arange(n), cut), "null.truncated": np.zeros(n, bool),
    }  # fmt: skip
    return View(np.array([f"{row:04d}".encode() for row in range(n)]), columns)


def choose(view, budget, **settings):
    return PVI(**settings).select(view, Budget(budget), np.random.default_rng(0))


def test_it_is_the_papers_difference_in_bits():
    given, null = np.array([0.5, 0.9, 0.1]), np.array([0.5, 0.3, 0.8])
    chosen = choose(view_of(np.log(given), np.log(null)), 3)
    wanted = -np.log2(null) + np.log2(given)
    assert chosen.indices.tolist() == [1, 0, 2]
    assert chosen.gains == pytest.approx(wanted[[1, 0, 2]])
    assert chosen.gains[2] < 0
    assert choose(view_of(np.log(given), np.log(null)), 1, which="low").indices.tolist() == [2]


def test_a_sum_favours_long_responses_and_a_mean_does_not():
    view = view_of([-8.0, -1.0], [-16.0, -4.0], tokens=[16, 2])
    assert choose(view, 1).indices.tolist() == [0]
    chosen = choose(view, 1, per_token=True)
    assert chosen.indices.tolist() == [1]
    assert chosen.reasons == [f"V-information {1.5 / np.log(2):.4g} bits a token"]


def test_truncated_and_unscored_are_left_out_and_unpaired_sums_are_said():
    view = view_of([-1, -2, np.nan, -1], [-2, -3, -1, -9], null_tokens=[3, 4, 4, 4], cut=[3])
    chosen = choose(view, 2)
    assert chosen.indices.tolist() == [0, 1]
    assert chosen.excluded == {"V-information is not finite": 1, "truncated": 1}
    assert chosen.warnings == (
        (
            "1 of 2 responses have another number of tokens without their prompt, as where nothing "
            "comes before the first: give the null-input model a lead, such as --set pvi.lead=TEXT"
        ),
    )
    with pytest.raises(BudgetError, match="only 2 are eligible"):
        choose(view, 3)


def test_the_null_model_sees_the_lead_and_no_prompt():
    needs = PVI(template="alpaca", lead="### Response:").requires()
    assert needs["null"].role == "reference" and needs["null"].scorer == "null-likelihood"
    assert needs["null"].config == {"template": "alpaca", "lead": "### Response:"}
    assert "fine-tuned on the same responses with empty prompts" in needs["null"].hint
