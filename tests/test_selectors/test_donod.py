import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, Example, View
from curate.errors import BudgetError, ConfigError, MissingColumnError
from curate.registry import build, describe, get_selector, methods_table
from curate.scorers.donod import DONOD as Scorer
from curate.scorers.donod import change_of_norm
from curate_selectors.donod import DONOD, topsis, winsorized

HALF = (0.5, 0.5)
LEARNING_RATES = (1e-7, 1e-6, 1e-5)


def pool(don, nod, **more) -> View:
    n = len(don)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        {"donod.don": np.array(don, dtype=float), "donod.nod": np.array(nod, dtype=float)},
        **more,
    )


def select(view: View, budget: str, **settings):
    return build(DONOD, settings).select(view, Budget.parse(budget), np.random.default_rng(0))


def reference(don, nod, weights=HALF):
    """TOPSIS written out in the textbook's seven steps, a row and a criterion at a time."""
    rows = list(zip(don, nod, strict=True))
    lengths = [sum(row[j] ** 2 for row in rows) ** 0.5 for j in (0, 1)]
    weighted = [
        [weights[j] * row[j] / lengths[j] if lengths[j] else 0.0 for j in (0, 1)] for row in rows
    ]
    dons, nods = zip(*weighted, strict=True)
    best, worst = (max(dons), min(nods)), (min(dons), max(nods))
    closeness = []
    for row in weighted:
        to_best = sum((v - a) ** 2 for v, a in zip(row, best, strict=True)) ** 0.5
        to_worst = sum((v - a) ** 2 for v, a in zip(row, worst, strict=True)) ** 0.5
        closeness.append(to_worst / (to_best + to_worst) if to_best + to_worst else 0.5)
    return closeness


# TOPSIS ------------------------------------------------------------------------------------------


def test_published_numbers():
    found = topsis(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0]), HALF)
    tie = 5**0.5 / (1 + 5**0.5)
    assert found == pytest.approx([0, tie, tie], abs=1e-12)
    assert tie == pytest.approx(0.690983, abs=1e-6)


# DON has both signs; values of the size that gradient steps have are scaled from these
values = st.floats(-10, 10).map(lambda x: round(x, 3))
tables = st.lists(st.tuples(values, values.map(abs)), min_size=1, max_size=30)


@given(tables, st.sampled_from([HALF, (0.9, 0.1), (1.0, 0.0), (3.0, 1.0)]))
def test_same_as_an_independent_implementation(rows, weights):
    don, nod = (np.array(column) for column in zip(*rows, strict=True))
    found = topsis(don, nod, weights)
    assert found == pytest.approx(reference(don.tolist(), nod.tolist(), weights), abs=1e-9)
    assert ((found >= 0) & (found <= 1)).all()


@given(tables, st.sampled_from([1e-8, 1e-3, 1e6]), st.sampled_from([1e-8, 1.0, 1e9]))
def test_units_of_the_columns_do_not_matter(rows, first, second):
    don, nod = (np.array(column) for column in zip(*rows, strict=True))
    scaled = topsis(don * first, nod * second, HALF)
    assert scaled == pytest.approx(topsis(don, nod, HALF), abs=1e-9)


def test_only_the_ratio_of_the_weights_counts():
    rng = np.random.default_rng(0)
    don, nod = rng.normal(size=50), rng.gamma(2.0, size=50)
    assert topsis(don, nod, (3.0, 1.0)) == pytest.approx(topsis(don, nod, (0.75, 0.25)))


@pytest.mark.parametrize("scale", [1e-160, 1e-300, 1e150])
def test_squares_that_would_underflow_or_overflow_do_not(scale):
    don, nod = np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0])
    assert topsis(don * scale, nod * scale, HALF) == pytest.approx(topsis(don, nod, HALF))


@pytest.mark.parametrize(
    ("don", "nod", "wanted"),
    [
        ([0, 0, 0], [3, 1, 2], [0, 1, 0.5]),
        ([7, 7, 7], [3, 1, 2], [0, 1, 0.5]),
        ([1, 2, 3], [0, 0, 0], [0, 0.5, 1]),
        ([0, 0], [0, 0], [0.5, 0.5]),
        ([2, 2], [5, 5], [0.5, 0.5]),
        ([-4], [2], [0.5]),
    ],
    ids=["DON zero", "DON constant", "NOD zero", "both zero", "both constant", "one row"],
)
def test_degenerate_columns_are_defined(don, nod, wanted):
    found = topsis(np.array(don, float), np.array(nod, float), HALF)
    assert found == pytest.approx(wanted, abs=1e-12)


# The choice --------------------------------------------------------------------------------------


def test_high_don_and_low_nod_win():
    chosen = select(pool([1, 5, 1, 5], [9, 9, 2, 2]), "4")
    assert chosen.indices.tolist()[0] == 3 and chosen.indices.tolist()[-1] == 0
    assert chosen.gains.tolist()[0] == 1 and chosen.gains.tolist()[-1] == 0
    assert chosen.reasons[0] == "closeness 1 (DON 5, NOD 2)"


def test_ties_go_to_the_smaller_id():
    assert select(pool([2] * 6, [5] * 6), "50%").indices.tolist() == [0, 1, 2]


def test_weights_can_hand_the_ranking_to_one_column():
    view = pool([1, 5, 3], [1, 9, 4])
    assert select(view, "3", weights="1,0").indices.tolist() == [1, 2, 0]
    assert select(view, "3", weights="0,1").indices.tolist() == [0, 2, 1]


def test_undefined_scores_are_left_out_and_counted():
    view = pool([1, np.nan, 3, np.inf], [1, 1, np.nan, 1])
    chosen = select(view, "1")
    assert chosen.indices.tolist() == [0]
    assert chosen.excluded == {"DON or NOD is not finite": 3}
    with pytest.raises(BudgetError, match="only 1 are eligible .*3 DON or NOD is not finite"):
        select(view, "2")


def test_the_sign_of_don_is_asked_of_the_scorer():
    """So the column has the sign that is said, wherever it comes from."""
    for sign in ("before_minus_after", "after_minus_before"):
        need = DONOD(don_sign=sign).requires()["donod"]
        assert (need.scorer, need.role) == ("donod", "target")
        assert build(Scorer, need.config).don_sign == sign


def test_all_layers_are_read_from_the_scorer_that_takes_a_backward_pass():
    need = DONOD(layers="all").requires()["donod"]
    assert (need.scorer, need.config) == ("donod-layers", {"don_sign": "after_minus_before"})


def test_the_opposite_sign_inverts_the_criterion():
    """With NOD out of play the ranking is the other way round."""
    don = np.random.default_rng(0).normal(size=40)
    forward = select(pool(don, np.ones(40)), "40").indices
    backward = select(pool(-don, np.ones(40)), "40").indices
    assert forward.tolist() == backward.tolist()[::-1]


def test_it_is_labelled_experimental_with_the_reason():
    assert "the sign of DON is unconfirmed" in describe(DONOD).experimental
    assert "Experimental: reconstructed from secondary sources" in methods_table()
    assert get_selector("donod") is DONOD


# Outliers ----------------------------------------------------------------------------------------


def simulated(n: int, seed: int):
    """Mean NLL less entropy, and squared gradient norms, of the sizes a model of 340 gives."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1.0, n), rng.lognormal(np.log(4.5), 0.5, n) ** 2


def kept(inner, sq_norm, lr: float, share: float = 0.3) -> set[int]:
    pairs = [change_of_norm(i, g, 340.0**2, lr) for i, g in zip(inner, sq_norm, strict=True)]
    return set(select(pool(*zip(*pairs, strict=True)), str(round(len(inner) * share))).indices)


def test_one_outlier_moves_the_kept_set_and_winsorising_keeps_it():
    inner, sq_norm = simulated(2000, 0)
    don, nod = inner / 340, np.sqrt(sq_norm)
    spoilt = don.copy()
    spoilt[7] *= 200
    clean = set(select(pool(don, nod), "30%").indices)
    moved = set(select(pool(spoilt, nod), "30%").indices)
    held = set(select(pool(spoilt, nod), "30%", winsorize=0.001).indices)
    assert len(clean & moved) < 0.9 * len(clean) < 0.97 * len(clean) < len(clean & held)


def test_winsorising_moves_the_ends_to_the_quantiles():
    column = np.arange(11.0)
    assert winsorized(column, 0.1).tolist() == [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert winsorized(column, 0.0) is column


# The learning rate -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_kept_set_does_not_depend_on_an_ordinary_learning_rate(seed):
    inner, sq_norm = simulated(1000, seed)
    first, *others = [kept(inner, sq_norm, lr) for lr in LEARNING_RATES]
    assert all(one == first for one in others)
    assert len(first & kept(inner, sq_norm, 1e-4)) >= 0.995 * len(first)


@pytest.mark.slow
def test_real_rows_by_a_real_model_keep_the_same_set(realdata, realmodel):
    don_and_nod = real_scores(realdata, realmodel, n=80)
    first, *others = [
        set(select(pool(*don_and_nod(lr)), "30%").indices) for lr in (*LEARNING_RATES, 1e-4)
    ]
    assert others[0] == others[1] == first
    assert len(first & others[2]) >= 0.995 * len(first)


def real_scores(realdata, realmodel, n: int):
    """DON and NOD of n real rows as a function of the learning rate, from one pass."""
    import pyarrow.parquet as pq

    from curate.models.load import load_model, resolve_model
    from curate.models.passes.forward import Forward, PassRequest
    from curate.models.text.render import Renderer

    table = pq.read_table(realdata / "alpaca_quality.parquet", columns=["prompt", "response"])
    examples = [
        Example(
            f"{number:032x}",
            (
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["response"]},
            ),
        )
        for number, row in enumerate(table.slice(0, n).to_pylist())
    ]
    scorer = Scorer(template="plain")
    model = load_model(resolve_model(str(realmodel)), "cpu", "float32")
    rows = Renderer(model.tokenizer, model.resolved.max_length).render(
        examples, scorer.segments()[0].rendering
    )
    stats = [
        found.stats(scorer, model.head_weight_sq_norm)
        for start in range(0, n, 8)
        for _, found in Forward(model).run(rows[start : start + 8], PassRequest.of([scorer]))
    ]

    def at(lr: float):
        reduced = [Scorer(lr=lr).reduce({"full": one}) for one in stats]
        assert all(one["nod"] > 0 for one in reduced)
        return [one["don"] for one in reduced], [one["nod"] for one in reduced]

    return at


# Wrong requests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(-1.0, 2.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_weights_that_rank_nothing_are_refused(weights):
    with pytest.raises(ConfigError, match=r"donod.weights must be two numbers of 0 or more.*0.5,0"):
        DONOD(weights=weights)


@pytest.mark.parametrize("share", [-0.1, 0.5, float("nan")])
def test_winsorising_everything_is_refused(share):
    with pytest.raises(ConfigError, match="donod.winsorize is a share from 0 to below 0.5, got"):
        DONOD(winsorize=share)


def test_without_scores_the_message_says_what_to_run():
    with pytest.raises(MissingColumnError, match="curate score --scorer donod"):
        DONOD().select(View(np.array([b"a"])), Budget(1), np.random.default_rng(0))
