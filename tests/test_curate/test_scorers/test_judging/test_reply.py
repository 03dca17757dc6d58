import numpy as np
import pytest

from curate.models.generation.short_answers import Place, ShortAnswer
from curate.scorers.judging.reply import number_in, read_reply

SCALE = range(1, 6)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4", 4), ("**4**", 4), ("4/5", 4), ("4 out of 5", 4), ("Score: 4/5", 4), ("score: (4)", 4),
        ("The score is 4.", 4), ("4.5", 4.5), ("<think>a 3? or a 2</think>\n5", 5),
        ("It has 2 faults and 3 virtues. Score: 4", 4), ("score: 2 ... no, score: 3", 3),
        ("", None), ("very good", None), ("3 or 4", None), ("12", None), ("score: 9", None),
        ("-3", None), ("on a scale of 1 to 5, high", None), ("1-5", None), ("1.2.3", None),
        ("I cannot rate this.", None), ("<think>3</think>", None),
        ("<think>The user asks for 3 facts", None), ("<think>a</think> 4 <think>2", None),
        ("score 1-5: 4", 4), ("Score (1 to 5): 4", 4), ("score 1\u20135 = 2", 2), ("score 1-5", None),
    ],
)  # fmt: skip
def test_the_number_of_a_reply(text, number):
    found = number_in(text, SCALE)
    assert (None if found is None else found[0]) == number


def test_the_expected_answer_is_read_where_the_number_stands():
    others = {"4": np.log(0.5), " 5": np.log(0.2), "5": np.log(0.1), "0": np.log(0.1), "x": -3.0}
    places = tuple(Place(token, {token: 0.0}) for token in ("score", ":", " ("))
    answer = ShortAnswer("score: (4)", (*places, Place("4", others), Place(")", {})), 5)
    found = read_reply(answer, SCALE)
    assert found.score == pytest.approx((4 * 0.5 + 5 * 0.3) / 0.8)
    assert found.mass == pytest.approx(0.8) and not found.written


def test_thoughts_have_tokens_that_are_no_text():
    places = (Place("<think>", {}), Place("3", {"3": 0.0}), Place("</think>", {}),
              Place("4", {"4": np.log(0.9), "3": np.log(0.1)}))  # fmt: skip
    found = read_reply(ShortAnswer("4", places, 4), SCALE)
    assert found.score == pytest.approx(3.9)


@pytest.mark.parametrize(
    "places",
    [
        (),
        (Place("four", {"four": 0.0}),),  # do not spell the text
        (Place("4.5", {"4.5": 0.0}),),
        (Place("4", {}),),
        (Place("4", {"x": 0.0}),),
    ],
)
def test_without_probabilities_it_is_the_number_as_written(places):
    text = "4.5" if places and places[0].token == "4.5" else "4"
    found = read_reply(ShortAnswer(text, places, 1), SCALE)
    assert (found.score, found.mass, found.written) == (float(text), 1.0, True)
