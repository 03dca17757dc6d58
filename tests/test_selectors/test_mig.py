import itertools
import tracemalloc

import numpy as np
import pytest

from curate.algorithms import information_gain
from curate.algorithms.directions import Comparable, have_direction
from curate.algorithms.information_gain import Information, greedy_information
from curate.algorithms.labels import Labels, spread_over_similar
from curate.contracts import Budget, Expression, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

MIG = get_selector("mig")


def view_of(labels, score=None, points=None, tokens=None):
    n = len(labels)
    score = np.ones(n) if score is None else np.asarray(score, float)
    points = np.eye(n) if points is None else np.asarray(points, float)
    return View(
        np.array([f"{row:04d}".encode() for row in range(n)]),
        {"labels": np.array(labels, dtype=object), "score": score},
        vectors_by_column={"embedding.vector": Vectors(points)},
        tokens=None if tokens is None else np.array(tokens),
    )


def choose(view, budget, **settings):
    return MIG("tags", "s", **settings).select(view, Budget.parse(budget), np.random.default_rng(0))


def spread_by_hand(names, listed, points, threshold, alpha):
    """Transcribed from the definition, one pair of labels after the other."""
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    means = []
    for name in names:
        mean = np.mean([units[i] for i, own in enumerate(listed) if name in own], axis=0)
        mean = mean - units.mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    weights = np.eye(len(names))
    for i, one in enumerate(means):
        for j, other in enumerate(means):
            if i != j and one @ other >= threshold:
                weights[i, j] = alpha * (one @ other)
    return weights / weights.sum(axis=0)


def dense(values, k, gain):
    """The published loop: every row before each pick; of equal gains the first."""
    x, picks, gains = np.zeros(values.shape[1]), [], []
    for _ in range(k):
        if gain == "exact":
            added = ((x + values + 1e-6) ** 0.8 - (x + 1e-6) ** 0.8).sum(axis=1)
        else:
            added = values @ (0.8 * (x + 1e-6) ** -0.2)
        added = added.round(9)
        added[picks] = -1
        picks.append(int(added.argmax()))
        gains.append(added.max())
        x = x + values[picks[-1]]
    return picks, gains


def random_pool(seed, n, n_labels):
    rng = np.random.default_rng(seed)
    listed = [rng.choice(n_labels, rng.integers(1, 5), replace=False).tolist() for _ in range(n)]
    texts = [", ".join(f"L{code:03d}" for code in own) for own in listed]
    return texts, [{f"l{code:03d}" for code in own} for own in listed], rng


@pytest.mark.parametrize("gain", ["first-order", "exact"])
@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_picks_are_those_of_the_dense_greedy(gain, threshold):
    texts, listed, rng = random_pool(1, 200, 30)
    score, points = rng.integers(1, 7, 200).astype(float), rng.normal(size=(200, 6))
    names = sorted(set().union(*listed))
    given = np.array(
        [[s * (name in own) for name in names] for s, own in zip(score, listed, strict=True)]
    )
    values = given @ spread_by_hand(names, listed, points, threshold, 0.7)
    picks, gains = dense(values, 200, gain)
    chosen = choose(view_of(texts, score, points), 200, gain=gain, threshold=threshold, alpha=0.7)
    assert chosen.indices.tolist() == picks
    assert chosen.gains == pytest.approx(gains, rel=1e-9, abs=2e-9)
    assert (np.diff(chosen.gains) <= 0).all()


@pytest.mark.parametrize("gain", ["first-order", "exact"])
def test_few_rows_are_evaluated_and_the_picks_are_the_same(gain):
    rng = np.random.default_rng(4)
    texts, _, _ = random_pool(4, 1_500, 200)
    values = Labels.read(np.array(texts, dtype=object), ",").matrix(rng.uniform(1, 6, 1_500))
    found = greedy_information(values, np.ones(1_500), 40, information=Information(), gain=gain)
    assert found.picks.tolist() == dense(values.toarray(), 40, gain)[0]
    assert found.n_evaluated < 1_500 + 40 * 300


@pytest.mark.parametrize("gain", ["first-order", "exact"])
@pytest.mark.parametrize("at_once", [1, 16])
def test_picks_do_not_depend_on_how_many_rows_the_heap_holds(monkeypatch, gain, at_once):
    monkeypatch.setattr(information_gain, "AT_ONCE", at_once)
    rng = np.random.default_rng(5)
    texts, _, _ = random_pool(5, 120, 12)
    score = rng.integers(0, 4, 120).astype(float)  # ties, and rows that add nothing
    values = Labels.read(np.array(texts, dtype=object), ",").matrix(score)
    found = greedy_information(values, np.ones(120), 120, information=Information(), gain=gain)
    assert found.picks.tolist() == dense(values.toarray(), 120, gain)[0]


def test_the_slope_at_nothing_is_the_published_number():
    assert Information().slope(np.zeros(1))[0] == pytest.approx(12.679, abs=5e-4)


def test_labels_are_read_once_whatever_their_case():
    labels = Labels.read(np.array([" Maths,maths ; x", None, "", ",a, A ,B"], dtype=object), ",")
    assert labels.names == ["a", "b", "maths", "maths ; x"]
    assert labels.counts.tolist() == [2, 0, 0, 2]
    assert labels.codes.tolist() == [2, 3, 0, 1]


def test_labels_may_be_a_list_as_json_text():
    texts = ['["Maths, applied", "poem"]', "maths, poem", "[sic], poem", "[1, 2]"]
    labels = Labels.read(np.array(texts, dtype=object), ",")
    names = [
        [labels.names[code] for code in labels.codes[start:end]]
        for start, end in itertools.pairwise(labels.starts)
    ]
    assert names == [["maths, applied", "poem"], ["maths", "poem"], ["[sic]", "poem"], ["2]", "[1"]]


def test_a_long_label_costs_its_own_length_alone():
    texts = np.array(["x" * 5_000, *(f"l{i % 7}" for i in range(20_000))], dtype=object)
    tracemalloc.start()
    labels = Labels.read(texts, ",")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(labels.names) == 8 and peak < 20e6


def test_labels_are_told_apart_exactly():
    labels = Labels.read(np.array(["a\0", "a"], dtype=object), ",")
    assert labels.names == ["a", "a\0"]


@pytest.mark.parametrize("gain", ["first-order", "exact"])
@pytest.mark.parametrize("best", [1e10, 1e300])
def test_the_best_of_large_scores_comes_first(gain, best):
    chosen = choose(view_of(["a", "b", "c"], [1.0, best, 2.0]), 3, alpha=0.0, gain=gain)
    assert chosen.indices.tolist() == [1, 2, 0]
    assert chosen.gains.dtype == np.float64 and chosen.gains[0] > chosen.gains[1]


def test_vectors_are_looked_at_once_for_their_direction(monkeypatch):
    looks = []

    def look(vectors):
        looks.append(vectors)
        return have_direction(vectors)

    monkeypatch.setattr("curate.algorithms.directions.have_direction", look)
    choose(view_of(["a", "b"], points=[[0, 1], [1, 0]]), 1)
    assert len(looks) == 1


@pytest.mark.parametrize("block", [1, 4_096])
def test_near_labels_share_what_they_have(block, monkeypatch):
    monkeypatch.setattr("curate.algorithms.labels.BLOCK_LABELS", block)
    points = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]], float)
    texts = ["algebra", "equations", "poem", "code"]
    labels = Labels.read(np.array(texts, dtype=object), ",")
    comparable = Comparable.of(view_of(texts, points=points), "embedding")
    shares = spread_over_similar(labels, comparable, threshold=0.9, alpha=1.0).toarray()
    assert shares.sum(axis=0).tolist() == pytest.approx([1.0] * 4)
    by_hand = spread_by_hand(labels.names, [{text} for text in texts], points, 0.9, 1.0)
    assert shares == pytest.approx(by_hand, abs=1e-8)
    assert shares[0, 2] > 0.4 and shares[1].tolist() == [0.0, 1.0, 0.0, 0.0]  # algebra, code
    view = view_of(texts, [4, 3.9, 3.8, 1], points)
    assert choose(view, 2, alpha=0.0).indices.tolist() == [0, 1]
    assert choose(view, 2).indices.tolist() == [0, 2]  # the first has given the second's label


def test_an_example_without_labels_comes_last_and_one_without_a_score_not_at_all():
    view = view_of(["a", "", "b", None, "c"], [1, 9, 2, 9, np.nan])
    chosen = choose(view, 3, alpha=0.0)
    assert chosen.indices.tolist() == [2, 0, 1]
    assert chosen.excluded == {"labels are null": 1, "score is null or not finite": 1}
    assert chosen.reasons[-1] == "adds 0 by 0 labels"
    [warning] = chosen.warnings
    assert warning == (
        "1 of the selected examples have no label and add nothing, as 1 of 3 do; ask for fewer, or "
        "leave them out with --where"
    )
    assert choose(view, 2, alpha=0.0).warnings == ()
    with pytest.raises(BudgetError, match="only 3 are eligible"):
        choose(view, 4, alpha=0.0)
    zero = choose(view_of(["a", "b"], points=[[0, 0], [1, 0]]), 1)
    assert zero.indices.tolist() == [1] and zero.excluded == {"embedding has length 0": 1}
    with pytest.raises(ConfigError, match="no embedding 'embedding' is finite and longer than 0"):
        choose(view_of(["a"], points=[[0, 0]]), 1)


def test_a_score_is_divided_by_the_labels_if_asked():
    view = view_of(["a, b, c", "d"], [2, 3])
    assert choose(view, 1, alpha=0.0).indices.tolist() == [0]
    assert choose(view, 1, alpha=0.0, per_label=True).indices.tolist() == [1]


def test_a_token_budget_takes_as_many_as_fit():
    texts, _, rng = random_pool(3, 60, 20)
    view = view_of(texts, rng.uniform(1, 6, 60), tokens=10 + np.arange(60))
    chosen = choose(view, "300tok")
    assert chosen.indices.tolist() == choose(view, len(chosen)).indices.tolist()
    assert view.tokens[chosen.indices].sum() <= 300
    assert view.tokens[choose(view, len(chosen) + 1).indices].sum() > 300


def test_what_it_needs_and_what_it_refuses():
    assert MIG("t.tags", "r.s").requires() == {
        "labels": Expression("t.tags"), "score": Expression("r.s"), "embedding": Need("embedding"),
    }  # fmt: skip
    assert "embedding" not in MIG("t.tags", "r.s", alpha=0.0).requires()
    for settings, message in (
        ({"labels": " "}, r"mig\.labels is empty; name a column"),
        ({"separator": ""}, r"mig\.separator is empty"),
        ({"threshold": 0.0}, r"mig\.threshold=0 is a cosine, above 0 and at most 1; try 0\.9"),
        ({"alpha": -1.0}, r"mig\.alpha=-1 must be at least 0"),
        ({"embedding": ""}, r"mig\.embedding is empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            MIG(**{"labels": "t", "score": "s", **settings})
    with pytest.raises(ConfigError, match=r"mig\.score='s' is -1 for some example.*exp\(s\)"):
        choose(view_of(["a", "b"], [-1, 2]), 1)
    with pytest.raises(BudgetError, match="mig needs a budget"):
        MIG("t", "s").select(view_of(["a"]), None, np.random.default_rng(0))
