"""GOT-D: potentials equal POT's duals and the derivative of the distance, however they are blocked."""

import importlib

import numpy as np
import pytest

from curate import Budget, BudgetError, ConfigError, TargetCosines, Vectors, View
from curate.algorithms import transport as module
from curate.algorithms.transport import source_potentials, transport
from curate_selectors.got_d import GOTD


@pytest.fixture(scope="module")
def ot():
    """The package POT, without the backends that it would import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POT_BACKEND_DISABLE_PYTORCH", "1")
        return importlib.import_module("ot")


def view(pool, target):
    def one(points, **more):
        ids = np.array([f"{n:04}" for n in range(len(points))], dtype="S32")
        columns = {"embedding.vector": Vectors(np.asarray(points, dtype=np.float32))}
        return View(ids, vectors_by_column=columns, **more)

    return one(pool, target=one(target))


def cosines(pool, target):
    return TargetCosines.of(view(pool, target), "embedding.vector")


def points(n, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


POOL, TARGET = points(40), points(12, seed=1)


def solved(pool=POOL, target=TARGET, epsilon=0.05):
    return transport(
        cosines(pool, target), relative_epsilon=epsilon, tolerance=1e-8, max_passes=999
    )


def costs(pool=POOL, target=TARGET):
    search = cosines(pool, target)
    return 2 - 2 * search.block(np.arange(len(pool)), np.arange(len(target)))


@pytest.mark.slow
def test_potentials_are_the_duals_of_pot(ot):
    found = solved()
    uniform = np.full(40, 1 / 40), np.full(12, 1 / 12)
    _, log = ot.sinkhorn(
        *uniform, costs(), found.epsilon, method="sinkhorn_log", stopThr=1e-12, numItermax=20_000, log=True
    )  # fmt: skip
    for ours, theirs in ((found.source, log["log_u"]), (found.target, log["log_v"])):
        expected = found.epsilon * theirs
        assert np.allclose(ours - ours.mean(), expected - expected.mean(), rtol=0, atol=1e-6)
    assert found.residual <= 1e-8


def test_potentials_are_those_of_sinkhorn():
    """Rows and columns in turn, in logarithms, over the whole matrix of costs."""
    from scipy.special import logsumexp

    found, cost = solved(), costs()
    f, g = np.zeros(40), np.zeros(12)
    for _ in range(500):
        f = -found.epsilon * logsumexp((g - cost) / found.epsilon, axis=1, b=1 / 12)
        g = -found.epsilon * logsumexp((f[:, None] - cost) / found.epsilon, axis=0, b=1 / 40)
    assert np.allclose(found.source - found.source.mean(), f - f.mean(), rtol=0, atol=1e-7)
    assert np.allclose(found.target, g - g.mean(), rtol=0, atol=1e-7)


def test_with_little_entropy_the_distance_is_that_of_the_linear_programme():
    from scipy.optimize import linprog

    pool, target = points(10, seed=2), points(10, seed=3)
    cost = costs(pool, target)
    n = len(cost)
    rows = np.kron(np.eye(n), np.ones(n))
    columns = np.kron(np.ones(n), np.eye(n))
    answer = linprog(
        cost.ravel(), A_eq=np.vstack([rows, columns])[:-1], b_eq=np.full(2 * n - 1, 1 / n), method="highs"
    )  # fmt: skip
    found = solved(pool, target, epsilon=0.01)
    distance = answer.fun
    ours = found.source.mean() + found.target.mean()
    assert abs(ours - distance) < 0.05 * distance


@pytest.mark.slow
def test_a_difference_of_potentials_is_how_the_distance_grows_with_weight(ot):
    found = solved()
    step = 1e-4

    def distance(weights):
        plan = ot.sinkhorn(
            weights, np.full(12, 1 / 12), costs(), found.epsilon, method="sinkhorn_log", stopThr=1e-13,
            numItermax=20_000,
        )  # fmt: skip
        independent = weights[:, None] / 12
        entropy = (plan * np.log(plan / independent)).sum()
        return (plan * costs()).sum() + found.epsilon * entropy

    for one, other in ((5, 30),):
        more, less = np.full(40, 1 / 40), np.full(40, 1 / 40)
        more[[one, other]] += step, -step
        less[[one, other]] -= step, -step
        slope = (distance(more) - distance(less)) / (2 * step)
        assert slope == pytest.approx(found.source[one] - found.source[other], abs=1e-4)


@pytest.mark.parametrize("entries", [1, 50, 1 << 22])
def test_blocks_of_any_size_give_the_same_and_new_examples_their_own(entries, monkeypatch):
    expected = solved()
    sampled = module._median_cost
    median = sampled(cosines(POOL, TARGET))
    monkeypatch.setattr(module, "_median_cost", lambda _: median)
    monkeypatch.setattr(module, "ENTRIES", entries)
    found = solved()
    assert np.allclose(found.source, expected.source, rtol=0, atol=1e-7)
    later = source_potentials(cosines(POOL[30:], TARGET), expected.target, expected.epsilon)
    assert np.allclose(later, expected.source[30:], rtol=0, atol=1e-12)


def test_the_lowest_potentials_are_selected_and_the_gradient_ranks_the_same():
    chosen = GOTD(tolerance=1e-8).select(view(POOL, TARGET), Budget(10), np.random.default_rng(0))
    potentials = solved().source
    calibrated = potentials * (1 + 1 / 39) - potentials.sum() / 39
    assert chosen.indices.tolist() == np.argsort(potentials, kind="stable")[:10].tolist()
    assert chosen.indices.tolist() == np.argsort(calibrated, kind="stable")[:10].tolist()
    assert (np.diff(chosen.gains) <= 0).all() and chosen.warnings == ()


def test_examples_near_the_target_come_first():
    rng = np.random.default_rng(4)
    near, far = (
        rng.normal(size=(20, 6)) + [4, 0, 0, 0, 0, 0],
        rng.normal(size=(60, 6)) - [4, 0, 0, 0, 0, 0],
    )
    target = rng.normal(size=(9, 6)) + [4, 0, 0, 0, 0, 0]
    pool = np.concatenate([far, near])
    chosen = GOTD().select(view(pool, target), Budget(20), np.random.default_rng(0))
    assert set(chosen.indices.tolist()) == set(range(60, 80))


def test_a_transport_that_does_not_converge_says_so_with_its_residual():
    method = GOTD(max_passes=3)
    [warning] = method.select(view(POOL, TARGET), Budget(5), np.random.default_rng(0)).warnings
    assert warning.startswith("the transport did not converge: after ")
    assert "(tolerance 1e-06); allow more with --set got-d.max_passes" in warning


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epsilon": 0.0}, "got-d.epsilon=0 must be positive"),
        ({"tolerance": -1.0}, "got-d.tolerance=-1 must be positive"),
        ({"max_passes": 0}, "got-d.max_passes=0 must be positive"),
        ({"embedding": " "}, "got-d.embedding is empty"),
    ],
)
def test_settings_out_of_range_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        GOTD(**fields)


def test_a_budget_is_needed():
    with pytest.raises(BudgetError, match="got-d needs a budget"):
        GOTD().select(view(POOL, TARGET), None, np.random.default_rng(0))
