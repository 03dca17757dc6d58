"""Linear regression of a few runs on a few indicators, with everything needed to judge whether to trust it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

import numpy as np
from jaxtyping import Float

from curate.algorithms.rules.linear_rules import LinearRule, Term
from curate.contracts import Need
from curate.contracts.json_values import finite_or_none, json_tree
from curate.errors import ConfigError

N_BOOTSTRAP: Final = 2_000
LEVEL: Final = 0.95
RUNS_PER_INDICATOR: Final = 10
COLLINEAR: Final = 10.0  # variance inflation beyond which a coefficient is not worth reading
MAX_INFLATION: Final = 1e12  # what counts as an exact linear combination of the others
N_PENALTIES: Final = 241
LEVERAGE_ROUNDING: Final = 1e-10
SAME: Final = 1e-12  # relative to the values: a difference that is only rounding
SHARE_OF_DRAWS: Final = 0.9

Estimator = Literal["ols", "ridge"]


@final
@dataclass(frozen=True, slots=True)
class Coefficient:
    """One indicator in a fit.

    Parameters
    ----------
    indicator
        Its name.
    ols, ridge
        Change of the log loss per unit of the indicator.
    ols_standardised, ridge_standardised
        The same per standard deviation of the indicator over the runs, so that they compare.
    ci_low, ci_high
        Bootstrap interval of ``ols``, by percentiles; NaN where too few draws could be fitted.
    vif
        Variance inflation: 1 when the other indicators say nothing about it; infinite when they
        determine it.
    mean, sd
        Of the indicator over the runs.
    """

    indicator: str
    ols: float
    ridge: float
    ols_standardised: float
    ridge_standardised: float
    ci_low: float
    ci_high: float
    vif: float
    mean: float
    sd: float


@final
@dataclass(frozen=True, slots=True)
class LinearFit:
    """Both estimates of one regression, how well each predicts, and what is wrong with it.

    Parameters
    ----------
    coefficients
        Per indicator, in the order given.
    ols_intercept, ridge_intercept
        In the unit of the log loss.
    penalty
        Ridge penalty on standardised coefficients, chosen by generalised cross-validation.
    r2, ridge_r2
        Share of the variance explained on the runs fitted.
    loo_r2, ridge_loo_r2
        The same on each run when it is left out; below 0 is worse than the mean. The penalty and
        the standard deviations of the ridge estimate are those of all runs.
    n_runs, n_bootstrap
        Runs, and draws that could be fitted.
    warnings
        What a reader should know.
    """

    coefficients: tuple[Coefficient, ...]
    ols_intercept: float
    ridge_intercept: float
    penalty: float
    r2: float
    ridge_r2: float
    loo_r2: float
    ridge_loo_r2: float
    n_runs: int
    n_bootstrap: int
    warnings: tuple[str, ...]

    def rule(
        self,
        name: str,
        columns: Mapping[str, str],
        needs: Mapping[str, Need],
        provenance: Mapping[str, Any],
        estimator: Estimator = "ols",
    ) -> LinearRule:
        """Return the fit as a rule in the indicators' own units.

        Parameters
        ----------
        name
            What to call the rule.
        columns
            Column each indicator is read from, ``alias.column``, by indicator.
        needs
            Score set behind each alias.
        provenance
            What the rule was fitted on; kept with it.
        estimator
            Which coefficients to take.
        """
        terms = tuple(
            Term(
                coefficient.indicator,
                columns[coefficient.indicator],
                getattr(coefficient, estimator),
            )
            for coefficient in self.coefficients
        )
        intercept = self.ols_intercept if estimator == "ols" else self.ridge_intercept
        statistics = {"estimator": estimator, **self.statistics()}
        return LinearRule(name, intercept, terms, needs, statistics, provenance)

    def statistics(self) -> dict[str, Any]:
        """Return every number as plain JSON values; what is not finite becomes None."""
        values: dict[str, Any] = json_tree(asdict(self), finite_or_none)
        return values


def fit_linear(
    indicators: Float[np.ndarray, "n p"],
    log_loss: Float[np.ndarray, " n"],
    names: Sequence[str],
    rng: np.random.Generator,
    n_bootstrap: int = N_BOOTSTRAP,
) -> LinearFit:
    """Regress the log loss of runs on the mean indicators of the datasets they were trained on.

    Ordinary least squares, and ridge with the penalty of least generalised cross-validation; both
    with a free intercept, on standardised indicators. Intervals come from resampling runs.
    O(n_bootstrap n p^2).

    Parameters
    ----------
    indicators
        One row per run, one column per indicator, in the indicators' own units.
    log_loss
        Natural logarithm of each run's loss on the evaluation set.
    names
        Of the columns.

    Raises
    ------
    ConfigError
        With no more runs than coefficients and intercept, an indicator that never changes, or
        numbers that are not finite.
    """
    x, y = np.asarray(indicators, np.float64), np.asarray(log_loss, np.float64)
    _check(x, y, names)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    z = (x - mean) / sd
    penalty = gcv_penalty(z, y)
    ols, ridge = least_squares(z, y, 0.0), least_squares(z, y, penalty)
    drawn = _bootstrap(z, y, rng, n_bootstrap)
    if len(drawn):
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    else:
        low = high = np.full(len(ols), np.nan)
    table = np.stack(
        [ols / sd, ridge / sd, ols, ridge, low / sd, high / sd, variance_inflation(z), mean, sd]
    )
    coefficients = tuple(
        Coefficient(str(name), *row) for name, row in zip(names, table.T.tolist(), strict=True)
    )
    loo = [leave_one_out_r2(z, y, strength) for strength in (0.0, penalty)]
    return LinearFit(
        coefficients=coefficients,
        ols_intercept=float(y.mean() - mean @ (ols / sd)),
        ridge_intercept=float(y.mean() - mean @ (ridge / sd)),
        penalty=penalty,
        r2=_r2(y, y - z @ ols - y.mean()),
        ridge_r2=_r2(y, y - z @ ridge - y.mean()),
        loo_r2=loo[0],
        ridge_loo_r2=loo[1],
        n_runs=len(y),
        n_bootstrap=len(drawn),
        warnings=tuple(_warnings(len(y), coefficients, loo[0], len(drawn), n_bootstrap)),
    )


def least_squares(
    z: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"], penalty: float
) -> Float[np.ndarray, " p"]:
    """Return the coefficients of centred columns that minimise squared error + penalty |b|^2.

    The intercept, the mean of ``y``, is not penalised. Without a penalty and with collinear
    columns, the shortest of the minimisers.
    """
    u, s, vt = _svd(z)
    solution: Float[np.ndarray, " p"] = vt.T @ (s / (s**2 + penalty) * (u.T @ (y - y.mean())))
    return solution


def gcv_penalty(z: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"]) -> float:
    """Return the ridge penalty of least generalised cross-validation, on a fine logarithmic grid.

    That is ``n RSS / (n - df)^2`` (Golub, Heath and Wahba 1979) with ``df`` the trace of the hat
    matrix, the intercept's 1 included.
    """
    u, s, _ = _svd(z)
    centred = y - y.mean()
    along = u.T @ centred
    penalties = s[0] ** 2 * np.logspace(-8, 4, N_PENALTIES)
    kept = s**2 / (s**2 + penalties[:, None])  # (penalties, rank)
    across = max(float(centred @ centred - along @ along), 0.0)
    rss = across + np.square((1 - kept) * along).sum(axis=1)
    n = len(y)
    gcv = n * rss / np.square(n - 1 - kept.sum(axis=1))
    return float(penalties[np.argmin(gcv)])


def leave_one_out_r2(
    z: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"], penalty: float
) -> float:
    """Return ``1 - PRESS / SST``: how well each run is predicted by a fit without it.

    In closed form, from the residuals and the diagonal of the hat matrix, ``e / (1 - h)``; exactly
    what refitting without each run gives at the same penalty and scale of the columns (Allen 1974).
    NaN when a run alone determines a coefficient.
    """
    u, s, _ = _svd(z)
    leverage = 1 / len(y) + np.square(u) @ (s**2 / (s**2 + penalty))
    if (leverage > 1 - LEVERAGE_ROUNDING).any():
        return math.nan
    residuals = y - y.mean() - z @ least_squares(z, y, penalty)
    return _r2(y, residuals / (1 - leverage))


def variance_inflation(z: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"]:
    """Return ``1 / (1 - R^2)`` of each centred column regressed on the others."""
    factors = np.ones(z.shape[1])
    for j in range(z.shape[1] if z.shape[1] > 1 else 0):
        others = np.delete(z, j, axis=1)
        left = z[:, j] - others @ least_squares(others, z[:, j], 0.0)
        share = float(left @ left) / float(z[:, j] @ z[:, j])
        factors[j] = 1 / share if share > 1 / MAX_INFLATION else math.inf
    return factors


def _svd(
    z: Float[np.ndarray, "n p"],
) -> tuple[Float[np.ndarray, "n r"], Float[np.ndarray, " r"], Float[np.ndarray, "r p"]]:
    """Return the thin singular value decomposition without directions that are only rounding."""
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    kept = s > s[0] * max(z.shape) * np.finfo(np.float64).eps
    return u[:, kept], s[kept], vt[kept]


def _r2(y: Float[np.ndarray, " n"], residuals: Float[np.ndarray, " n"]) -> float:
    centred = y - y.mean()
    return 1 - float(residuals @ residuals) / float(centred @ centred)


def _bootstrap(
    z: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"], rng: np.random.Generator, draws: int
) -> Float[np.ndarray, "b p"]:
    """Return the coefficients of resampled runs; draws with too few distinct runs are left out."""
    n, p = z.shape
    design = np.column_stack([np.ones(n), z])
    kept = []
    for _ in range(draws):
        rows = rng.integers(n, size=n)
        solution, _, rank, _ = np.linalg.lstsq(design[rows], y[rows], rcond=None)
        if rank == p + 1:
            kept.append(solution[1:])
    return np.array(kept).reshape(-1, p)


def _check(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"], names: Sequence[str]) -> None:
    n, p = x.shape
    if len(y) != n or len(names) != p or p < 1:
        raise ConfigError(
            f"{n} runs of {p} indicators, {len(y)} losses and {len(names)} names do not match; give "
            "one loss per run and one name per indicator"
        )
    if n <= p + 1:
        raise ConfigError(
            f"{n} runs cannot fit {p} indicators and an intercept: at least {p + 2} are needed, and "
            f"{RUNS_PER_INDICATOR * p} to trust the result; train more runs, or give fewer indicators"
        )
    for name, values in (("the log loss", y), *zip(map(repr, names), x.T, strict=True)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ConfigError(
                f"{name} of run {int(bad[0])} is {values[bad[0]]}; every number must be finite: "
                "leave that run out, or score its indicators again"
            )
        if np.ptp(values) <= SAME * max(1.0, float(np.abs(values).max())):
            raise ConfigError(
                f"{name} is {values[0]:.6g} in every run, so nothing can be learned from it; "
                "leave it out, or train on subsets that differ"
            )


def _warnings(
    n: int, coefficients: Sequence[Coefficient], loo_r2: float, n_drawn: int, n_wanted: int
) -> Iterator[str]:
    p = len(coefficients)
    if n < RUNS_PER_INDICATOR * p:
        yield (
            f"{n} runs are few for {p} indicators: with fewer than {RUNS_PER_INDICATOR * p} "
            "coefficients are unstable; train more runs, or use fewer indicators"
        )
    for coefficient in coefficients:
        if coefficient.vif > COLLINEAR:
            yield (
                f"indicator {coefficient.indicator!r} is almost a combination of the others "
                f"(variance inflation {coefficient.vif:.3g}): its coefficient and sign mean little; "
                "leave one out, or take the ridge estimate"
            )
    if math.isnan(loo_r2):
        yield "one run alone determines a coefficient, so leave-one-out cannot be computed"
    elif loo_r2 <= 0:
        yield (
            f"leave-one-out R^2 is {loo_r2:.3f}: the rule predicts a new run no better than the "
            "mean does"
        )
    if n_drawn < SHARE_OF_DRAWS * n_wanted:
        yield (
            f"only {n_drawn} of {n_wanted} bootstrap draws could be fitted; the intervals are too "
            "narrow or missing"
        )
