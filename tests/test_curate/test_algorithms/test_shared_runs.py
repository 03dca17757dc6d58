import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.algorithms.shared_runs import RunIndex, shared_runs
from curate.algorithms.words import words_of

TEXTS = st.lists(
    st.lists(st.sampled_from("abc"), max_size=14).map(" ".join), min_size=1, max_size=5
)


def index_of(texts, n=3, **settings):
    return RunIndex.of([words_of(texts[:2]), words_of(texts[2:])], n, **settings)


def longest_common(one, other):
    """Return the words of the longest run two lists share, and where the first such begins in the first."""
    best, place = 0, -1
    for start in range(len(one)):
        for begin in range(len(other)):
            k = 0
            while one[start + k : start + k + 1] == other[begin + k : begin + k + 1] != []:
                k += 1
            if k > best:
                best, place = k, start
    return best, place


@given(TEXTS, TEXTS, st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_agrees_with_comparing_every_text_with_every_other(known, texts, n):
    found = shared_runs(index_of(known, n, most_places=None), words_of(texts))
    runs_known = {tuple(t[i : i + n]) for t in map(str.split, known) for i in range(len(t) - n + 1)}
    for at, text in enumerate(map(str.split, texts)):
        runs = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
        assert found.n_runs[at] == len(runs)
        assert found.n_shared[at] == sum(run in runs_known for run in runs)
        common = [longest_common(text, other.split()) for other in known]
        longest = max(length for length, _ in common)
        if longest < n:
            assert (found.longest[at], found.owner[at], found.place[at]) == (0, -1, -1)
            continue
        owner = next(i for i, (length, _) in enumerate(common) if length == longest)
        assert (found.longest[at], found.owner[at]) == (longest, owner)
        assert found.place[at] == common[owner][1]


def test_words_of_two_texts_are_no_run():
    assert shared_runs(index_of(["a b c d"]), words_of(["x a b", "c d x"])).n_shared.tolist() == [
        0,
        0,
    ]
    assert shared_runs(index_of(["a b", "c d"]), words_of(["a b c d"])).n_shared.tolist() == [0]


def test_nothing_is_shared_with_nothing():
    found = shared_runs(RunIndex.of([], 3), words_of(["a b c d", ""]))
    assert found.n_shared.tolist() == [0, 0]
    assert len(shared_runs(index_of(["a b c"]), words_of([])).longest) == 0


def test_of_a_run_that_is_everywhere_only_the_first_places_are_kept():
    known = [f"{k} once upon a time {k}" for k in range(40)]
    few, every = index_of(known, most_places=4), index_of(known, most_places=None)
    assert len(few.owners) == len(few.hashes) + 2 * 3  # two runs with 40 places
    text = words_of(["so once upon a time there was"])
    for index in (few, every):
        found = shared_runs(index, text)
        assert (found.n_shared[0], found.longest[0], found.owner[0]) == (2, 4, 0)
    seen = np.zeros(len(every.hashes), dtype=bool)
    seen[every.find(text.runs_at(3)[0])[1]] = True
    assert every.owners_with(seen).tolist() == list(range(40))


@pytest.mark.parametrize("n", [1, 1_000])
def test_runs_that_do_not_occur_are_not_found(n):
    index = index_of([" ".join(map(str, range(n))), "x"], 1)
    assert (index.find(words_of(["y z w"]).runs_at(1)[0]) == -1).all()
