from dataclasses import dataclass, field

import numpy as np
import pytest

from curate.scorers.bsdetector.contradiction import Comparison, judge


@dataclass
class Stub:
    """An NLI model that says what it is told of pairs, and remembers what it was asked."""

    known: dict = field(default_factory=dict)
    other: float = 1.0
    limit: int | None = None
    runs: list = field(default_factory=list)

    def lengths(self, pairs):
        return np.array([len(a.split()) + len(b.split()) for a, b in pairs], dtype=np.int64)

    def contradictions(self, pairs):
        self.runs.append(list(pairs))
        values = [self.known.get(pair, self.other) for pair in pairs]
        return np.array(values, dtype=float), self.lengths(pairs)


def test_equal_answers_need_no_model():
    model = Stub()
    [found] = judge([Comparison("Four.", ("four", " FOUR ", "four."))], model)
    assert found.similarity == (1.0, 1.0, 1.0)
    assert (found.n_pairs, found.tokens, model.runs) == (0, 0, [[]])


def test_contradiction_in_both_orders_is_no_similarity():
    [found] = judge([Comparison("four", ("five", "six"))], Stub(other=1.0))
    assert found.similarity == (0.0, 0.0) and found.n_pairs == 4


def test_both_orders_count_the_same():
    model = Stub({("four", "five"): 0.5, ("five", "four"): 0.1})
    [one], [other] = (judge([Comparison(*sides)], model) for sides in (("four", ("five",)), ("five", ("four",))))  # fmt: skip
    assert one.similarity == other.similarity == (pytest.approx(0.7),)


def test_every_pair_runs_once_whatever_row_it_comes_from():
    rows = [
        Comparison("four", ("five", "Five.", "six", "four")),
        Comparison("four", ("six", "five")),
        Comparison("five", ("four",)),
    ]
    model = Stub(other=0.25)
    found = judge(rows, model)
    [run] = model.runs
    assert len(run) == len(set(run)) == 4
    assert set(run) == {(a, b) for a in ("four", "five", "six") for b in ("four", "five", "six")
                        if a != b and "four" in (a, b)}  # fmt: skip
    assert [one.similarity for one in found] == [(0.75, 0.75, 0.75, 1.0), (0.75, 0.75), (0.75,)]
    assert [one.n_pairs for one in found] == [4, 4, 2]
    assert [one.tokens for one in found] == [8, 0, 0]  # charged to the first row that needs them


def test_the_question_goes_in_front_of_both_sides():
    model = Stub(other=0.0)
    judge([Comparison("four", ("five",), "2+2?"), Comparison("four", ("five",), "1+3?")], model)
    [run] = model.runs
    assert ("2+2?\nfour", "2+2?\nfive") in run and ("1+3?\nfive", "1+3?\nfour") in run
    assert len(run) == 4


def test_empty_answers_agree_with_nothing_but_themselves():
    model = Stub(other=0.0)
    answers = ("", " ", "five")
    found = judge([Comparison("four", answers), Comparison("", answers)], model)
    assert [one.similarity for one in found] == [(0.0, 0.0, 1.0), (1.0, 1.0, 0.0)]


def test_a_long_pair_is_split_and_its_worst_sentences_count():
    known = {("It is four.", "Surely five."): 0.9, ("Surely five.", "It is four."): 0.4}
    model = Stub(known, other=0.1, limit=9)
    row = Comparison("It is four. So there.", ("Surely five. I think.", "four"), "2+2?")
    [found] = judge([row], model)
    assert found.similarity == (pytest.approx(1 - (0.9 + 0.4) / 2), pytest.approx(0.9))
    assert found.n_split == 1 and found.n_pairs == 2 * 4 + 2
    [run] = model.runs
    assert not any(
        "2+2?" in a for a, b in run if "Surely" in b
    )  # sentences go without the question
