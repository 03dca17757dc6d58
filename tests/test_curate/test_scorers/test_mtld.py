import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import FAILURE, Example, LoadContext
from curate.errors import ConfigError
from curate.scorers.mtld import MTLD, diversity, words


def example_of(prompt, response):
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})
    return Example("0" * 32, messages)


def score(*pairs, **settings):
    run = MTLD(**settings).load(LoadContext("cpu", "float32"))
    return run([example_of(*pair) for pair in pairs])


# One way: the share of distinct words after each word, until it is at most 0.72.
# a b c d a: 1 1 1 1 4/5, so a part of a factor, 0.2 / 0.28, both ways; 5 words / (0.2 / 0.28) = 7.
# a a b c d e: 1 1/2 is a factor, then 1 1 1 1: 6 words / 1 factor = 6. Backwards 1 1 1 1 1 5/6:
# (1/6) / 0.28 of a factor, 6 * 6 * 0.28 = 10.08. The mean is 8.04.
# a a a: 1 1/2 is a factor, then 1: 3 words / 1 factor, both ways.
# a b a b a b a: 1 1 2/3 | 1 1 2/3 | 1: 7 words / 2 factors = 3.5, both ways.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a b c d a", 7.0),
        ("a a b c d e", 8.04),
        ("a a a", 3.0),
        ("a b a b a b a", 3.5),
        ("one", 1.0),
        ("no word comes twice here", 5.0),
    ],
)
def test_numbers_worked_out_by_hand(text, value):
    assert score(("", text))["mtld"][0] == pytest.approx(value, rel=1e-14)


def slow(sequence, threshold):
    """The definition once more, by slices: cut factors off the front until none is left."""
    rest, factors = list(sequence), 0.0
    while rest:
        ends = [n for n in range(1, len(rest) + 1) if len(set(rest[:n])) / n <= threshold]
        if not ends:
            factors += (1 - len(set(rest)) / len(rest)) / (1 - threshold)
            break
        factors += 1
        rest = rest[ends[0] :]
    return len(sequence) / factors if factors else len(sequence)


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.66, 0.72, 0.9]),
)
def test_agrees_with_the_definition_by_slices(sequence, threshold):
    wanted = (slow(sequence, threshold) + slow(sequence[::-1], threshold)) / 2
    assert diversity(sequence, threshold) == pytest.approx(wanted, rel=1e-12)


def test_case_digits_dashes_and_punctuation_do_not_count():
    text = "Well-known: 3 TIMES times2, (really?) rea—lly... it's"
    assert words(text) == ["wellknown", "times", "times", "really", "really", "it", "s"]
    assert score(("", text))["n_words"].tolist() == [7]


def test_a_varied_text_is_higher_than_a_repetitive_one():
    varied = "each word of this sentence stands here once and only then ends"
    found = score(("", "the cat and the dog " * 5), ("", varied))["mtld"]
    assert found[0] < found[1] == 12


def test_the_prompt_counts_only_when_asked_for():
    pair = ("a b c", "d a")
    assert score(pair)["n_words"].tolist() == [2]
    full = score(pair, part="full")
    assert full["n_words"].tolist() == [5] and full["mtld"][0] == pytest.approx(7)


def test_a_text_without_words_fails_alone():
    found = score(("", "a b"), ("", "42 - 3!"), ("", ""))
    assert list(found[FAILURE]) == [None, "no_words", "no_words"]
    assert np.isnan(found["mtld"]).tolist() == [False, True, True]


@pytest.mark.parametrize("threshold", [0.0, 1.0, 72.0])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(
        ConfigError, match="is a share of distinct words, between 0 and 1; try 0.72"
    ):
        MTLD(threshold=threshold)


def test_real_rows_lie_between_one_and_their_length(realdata):
    table = pq.read_table(realdata / "dolly_15k.parquet", columns=["prompt", "response"])
    rows = [(row["prompt"], row["response"]) for row in table.slice(0, 500).to_pylist()]
    found = score(*rows)
    scored = np.array([reason is None for reason in found[FAILURE]])
    assert scored.mean() > 0.95
    value, n_words = found["mtld"][scored], found["n_words"][scored]
    # A text without a factor may be extrapolated beyond its length, by what its last words suggest.
    assert (value >= 1).all() and 20 < np.median(value[n_words > 50]) < 200
