import numpy as np
import pytest

from curate.errors import ModelError
from curate.scorers.judging.scale import answer_tokens, read_scale


class Poor:
    """A tokenizer that spells 1 alone, 2 after a space, and has something else for 3."""

    def get_vocab(self):
        return {"1": 0, "Ġ2": 1, "▁3": 2}

    def decode(self, ids):
        return ["1", " 2", "x"][ids[0]]


def test_answers_are_spelled_alone_and_after_a_space():
    assert answer_tokens(Poor(), "m", (1, 2)) == {1: (0,), 2: (1,)}


def test_a_tokenizer_without_a_digit_is_refused():
    with pytest.raises(ModelError, match="judge 'm' has no token of its own for the answer 3"):
        answer_tokens(Poor(), "m", (1, 2, 3))


def test_the_expectation_is_renormalised_and_the_mass_is_not():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(7)) * 0.3
    answers = [1, 2, 3, 4, 5, 5, 1]
    value, mass = read_scale(np.log(probability), answers)
    assert mass == pytest.approx(0.3)
    assert value == pytest.approx(
        sum(a * p for a, p in zip(answers, probability, strict=True)) / 0.3
    )


def test_tiny_probabilities_do_not_vanish():
    value, mass = read_scale(np.array([-2000.0, -2000.0 + np.log(3)]), [1, 5])
    assert value == pytest.approx(4.0) and mass == 0.0
