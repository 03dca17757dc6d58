import pytest

from curate.contracts import Example, LoadContext
from curate.scorers import words
from curate.scorers.words import Words, numbers
from curate.testing import check_scorer, variants

EXAMPLE = Example(
    "a" * 32,
    ({"role": "user", "content": "Name a cat."}, {"role": "assistant", "content": "Tom, the Cat!"}),
)


@pytest.mark.parametrize("scorer", list(variants(Words)), ids=str)
def test_it_keeps_the_contract(scorer):
    check_scorer(scorer)


def test_words_in_order_whatever_their_case_and_what_is_between():
    assert numbers("The cat's  THE_end 12").tolist() == numbers("the,cat;s the_end...12").tolist()
    assert len(set(numbers("one two three one").tolist())) == 3
    assert numbers("äpfel 猫").min() >= 0 and numbers("-- ?!").tolist() == []


@pytest.mark.parametrize(
    ("part", "text"), [("full", "name a cat tom the cat"), ("prompt", "name a cat"), ("response", "tom the cat")]
)  # fmt: skip
def test_a_part_is_the_turns_it_names(part, text):
    score = Words(part).load(LoadContext("cpu", "float32"))
    found = score([EXAMPLE])["hashes"][0].tolist()
    assert [one for one in found if one in numbers(text).tolist()] == numbers(text).tolist()


def test_a_text_without_words_fails_and_numbers_do_not_depend_on_what_is_remembered(monkeypatch):
    empty = Example("b" * 32, ({"role": "assistant", "content": "?!"},))
    columns = Words("response").load(LoadContext("cpu", "float32"))([empty, EXAMPLE])
    assert columns["failure"].tolist() == ["no_words", None] and columns["hashes"][0] is None
    monkeypatch.setattr(words, "REMEMBERED", 2)
    known = {}
    assert numbers("a b c d a", known).tolist() == numbers("a b c d a").tolist()
    assert numbers("d e f", known).tolist() == numbers("d e f").tolist()
