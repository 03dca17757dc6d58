import pytest

from curate.scorers.judging.tag_names import merge, normalise, read_tags, stem


@pytest.mark.parametrize(
    ("reply", "tags"),
    [
        ("tags: Python, data_structures; C++", ["python", "data structures", "c++"]),
        ("- creative writing\n- Poetry\n- poetry.", ["creative writing", "poetry"]),
        ("Here are the tags:\n1. travel\n2) Hawaii", ["travel", "hawaii"]),
        ('[{"tag": "Math", "explanation": "sums, mostly"}, {"tag": "logic"}]', ["math", "logic"]),
        ('Sure! ["a b", "A-B", 3, null]', ["a b"]),
        ("<think>poem, sea</think>\nTAGS: sea", ["sea"]),
        ("tags: ÜBERSETZUNG, 翻译", ["übersetzung", "翻译"]),
        ("", []),
        ("tags: , ;", []),
        ("I cannot tag this.", []),
        ("This is about the writing of good and useful poems, I believe", []),
        ("[1, 2]", []),
        ("[not json, but tags]", ["not json", "but tags"]),
        ("[" * 50_000 + "]", []),
    ],
)
def test_the_tags_of_a_reply(reply, tags):
    assert read_tags(reply) == tags


def test_a_reply_that_was_cut_off_loses_what_may_be_half_a_tag() -> None:
    assert read_tags("tags: poem, sea, wav", ended=False) == ["poem", "sea"]
    assert read_tags("poem", ended=False) == []
    assert read_tags("<think>\nOkay, so, the user wants a poem") == []


def test_a_normalised_tag_stays_as_it_is():
    for name in ("C#", " Natural-Language  Processing! ", "ﬁne", "a, b"):
        assert normalise(normalise(name)) == normalise(name)
        assert "," not in normalise(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("poems", "poem"),
        ("data bases", "database"),
        ("categories", "category"),
        ("classes", "class"),
    ],
)
def test_plurals_and_blanks_are_one_stem(one, other):
    assert stem(one) == stem(other)


@pytest.mark.parametrize("tag", ["css", "analysis", "status", "gas"])
def test_words_that_end_in_s_lose_little(tag):
    assert stem(tag) == tag or tag == "gas"


def test_rare_tags_go_and_spellings_become_the_most_frequent():
    raw = [["poems", "sea"], ["poem"], ["poem", "poems"], ["maths", "sea"], []]
    assert merge(raw, 2) == [["poem", "sea"], ["poem"], ["poem"], ["sea"], []]
    assert merge(raw, 1)[3] == ["maths", "sea"]
    assert merge(raw, 4) == [[], [], [], [], []]
    assert merge([["poem"], ["poems"]], 2) == [["poem"], ["poem"]], "ties go by alphabet"


def test_a_reply_of_any_tags_of_thought_is_read_after_them():
    assert read_tags("[THINK]poem, sea[/THINK]tags: sea") == ["sea"]
    assert read_tags("[THINK]poem, sea") == []
