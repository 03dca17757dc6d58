"""Words that tell groups of texts apart."""

from curate.algorithms.distinctive import distinctive_words


def test_words_of_one_group_come_first_and_common_ones_never():
    texts = ["write a python function", "write python code", "write python tests"]
    texts += ["solve the equation", "solve this equation now", "write the equation"]
    found = distinctive_words(texts, [0, 0, 0, 1, 1, 1], 2)
    assert found[0][0] == "python"
    assert found[1][:2] == ["equation", "solve"]
    assert "the" not in found[0]


def test_a_word_counts_once_a_text_and_in_two_texts_at_least():
    texts = ["spam spam spam spam", "egg ham", "egg toast", "tea"]
    assert distinctive_words(texts, [0, 0, 0, 1], 2) == [["egg"], []]


def test_groups_alike_or_empty_have_no_words():
    assert distinctive_words(["red blue", "red blue"] * 2, [0, 1, 0, 1], 3) == [[], [], []]
    assert distinctive_words([], [], 1) == [[]]
