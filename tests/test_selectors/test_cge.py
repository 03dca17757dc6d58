import numpy as np
import pytest

from curate.contracts import Budget, Need, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

CGE = get_selector("cge")


def view_of(tuned, base, tokens=None, base_tokens=None):
    n = len(tuned)
    tokens = np.full(n, 9) if tokens is None else np.array(tokens)
    columns = {
        "tuned.mean_logp": np.array(tuned, float), "base.mean_logp": np.array(base, float),
        "tuned.n_tokens": tokens,
        "base.n_tokens": tokens if base_tokens is None else np.array(base_tokens),
    }  # fmt: skip
    return View(np.array([f"{row:04d}".encode() for row in range(n)]), columns)


def choose(view, budget, **settings):
    return CGE(**settings).select(view, Budget(budget), np.random.default_rng(0))


def test_what_the_tuned_model_alone_knows_comes_first():
    view = view_of([-1.0, -0.5, -3.0, -1.0], [-1.5, -0.6, -9.0, -1.5])
    chosen = choose(view, 4)
    assert chosen.indices.tolist() == [2, 0, 3, 1]  # ties by id
    assert chosen.gains == pytest.approx([6.0, 0.5, 0.5, 0.1])
    assert chosen.reasons[0] == "novelty 6.0000 nats a token"
    assert choose(view, 4, gamma=0.0).indices.tolist() == [1, 0, 3, 2]


def test_the_novelty_is_the_mean_of_token_differences():
    rng = np.random.default_rng(1)
    tuned, base = rng.normal(-2, 1, (5, 7)), rng.normal(-3, 1, (5, 7))
    chosen = choose(view_of(tuned.mean(axis=1), base.mean(axis=1)), 5, gamma=0.7)
    by_token = [float(np.mean(t - 0.7 * b)) for t, b in zip(tuned, base, strict=True)]
    assert chosen.indices.tolist() == np.argsort(-np.array(by_token)).tolist()
    assert chosen.gains == pytest.approx(sorted(by_token, reverse=True))


def test_another_tokenizer_is_said_and_missing_scores_are_counted():
    view = view_of([-1.0, -2.0, np.nan], [-2.0, -2.5, -1.0], [5, 6, 7], [5, 8, 7])
    chosen = choose(view, 2)
    assert chosen.excluded == {"novelty is not finite": 1}
    assert chosen.warnings[0].startswith(
        "the two models count the tokens of 1 of 2 examples differently"
    )
    with pytest.raises(BudgetError, match="only 2 are eligible"):
        choose(view, 3)


def test_what_it_needs_and_what_it_refuses():
    config = {"template": "plain", "score_tokens": "all"}
    assert CGE().requires() == {
        "tuned": Need("likelihood", "target", config),
        "base": Need("likelihood", "reference", config),
    }
    with pytest.raises(ConfigError, match=r"cge\.gamma=-1 must be at least 0; try 1"):
        CGE(gamma=-1.0)
