"""Draws from clusters: how many of each, which of them, and how rounds change the weights."""

from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.errors import ConfigError

Probability = Literal["softmax", "linear", "uniform"]
WeightUpdate = Literal["hedge", "official"]

_DIGITS: Final = 9  # of a sum of shares: what is below is rounding error and must not decide


def allocate_to_clusters(
    total: int, weights: Float[np.ndarray, " k"], capacities: Int[np.ndarray, " k"], seed: int
) -> Int[np.ndarray, " k"]:
    """Split a total over clusters in proportion to weights, none beyond its capacity, exactly.

    What a full cluster cannot take is spread over the others in the same proportion until no other
    overflows. Fractions are rounded systematically: the clusters are put in a random order, and
    each gets the whole numbers that its stretch of the running sum of shares holds, from a random
    start. So a cluster gets its share rounded down or up, and over seeds its share exactly: one that
    is due half an example gives one half of the time. Every cluster with a weight can be drawn from;
    those of weight 0 get something only when all others are full, by capacity.

    Parameters
    ----------
    total
        How many to draw; more than all capacities together gives all of them.
    weights
        At least 0, in any unit, (k,).
    capacities
        Rows each cluster can still give, (k,).
    seed
        Of the order and the start. The same for every total of one draw.

    Returns
    -------
    counts
        Rows to draw of each cluster, (k,), adding up to ``min(total, capacities.sum())``.

    Examples
    --------
    >>> allocate_to_clusters(10, np.array([0.5, 0.4, 0.3]), np.array([3, 90, 90]), 0).tolist()
    [3, 4, 3]
    """
    left = min(total, int(capacities.sum()))
    counts = np.zeros(len(capacities), dtype=np.int64)
    is_open = capacities > 0
    while left > 0:
        share = _proportional(left, weights, capacities, is_open)
        full = is_open & (share >= capacities)
        if not full.any():
            counts += _rounded(left, share, is_open, np.random.default_rng(seed))
            break
        counts[full] = capacities[full]
        left -= int(capacities[full].sum())
        is_open &= ~full
    return counts


def _proportional(
    total: int,
    weights: Float[np.ndarray, " k"],
    capacities: Int[np.ndarray, " k"],
    is_open: Bool[np.ndarray, " k"],
) -> Float[np.ndarray, " k"]:
    held = np.where(is_open, weights, 0.0)
    if held.sum() == 0:
        held = np.where(is_open, capacities, 0).astype(np.float64)
    return np.asarray(total * (held / held.sum()), dtype=np.float64)


def _rounded(
    total: int,
    share: Float[np.ndarray, " k"],
    is_open: Bool[np.ndarray, " k"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " k"]:
    """Round shares to whole numbers with the same sum, systematically."""
    order = rng.permutation(len(share))
    edges = np.cumsum(np.where(is_open, share, 0.0)[order])
    start = rng.random()
    reached = np.floor(np.round(edges, _DIGITS) + start).astype(np.int64)
    last_open = int(np.flatnonzero(is_open[order])[-1])
    reached[last_open:] = total  # the sum of the shares, whatever rounding error it has
    counts = np.empty(len(share), dtype=np.int64)
    counts[order] = np.diff(reached, prepend=0)
    return counts


def draw_log_weights(
    quality: Float[np.ndarray, " n"], prob: Probability, temperature: float
) -> Float[np.ndarray, " n"]:
    """Return the logarithm of each row's chance to be drawn, up to a constant.

    Never an exponential, so no quality overflows.

    Parameters
    ----------
    quality
        Finite; higher is better.
    prob
        ``softmax``: chance proportional to exp(quality / temperature). ``linear``: to
        quality^(1 / temperature), for qualities of 0 or more. ``uniform``: the same for all.
    temperature
        Positive; lower is greedier.
    """
    if prob == "uniform":
        return np.zeros(len(quality))
    if prob == "softmax":
        return quality / temperature
    lowest = float(quality.min(initial=0.0))
    if lowest < 0:
        raise ConfigError(
            f"prob=linear draws in proportion to the quality, and the lowest is {lowest:.6g}; "
            "use prob=softmax, or a quality of 0 or more, such as exp(likelihood.mean_logp)"
        )
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(quality) / temperature)


def gumbel_keys(
    log_weight: Float[np.ndarray, " n"], rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Return one random key a row; the m largest keys of any set are a draw of m without replacement.

    The draw has the law of taking one row at a time with chances proportional to exp(log_weight)
    among those that are left (Gumbel top-k, equal to the keys of Efraimidis and Spirakis [1]_).
    One pass, O(n). Rows of weight 0 come last.

    References
    ----------
    .. [1] Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    """
    return log_weight + rng.gumbel(size=len(log_weight))


def draw_from_clusters(
    places: Int[np.ndarray, " n"], codes: Int[np.ndarray, " n"], counts: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " m"]:
    """Take the first rows of each cluster, (m,). O(n + m log m).

    They come in an order of which every prefix holds about the same share of every cluster's count.

    Parameters
    ----------
    places
        Place of each row in its cluster from 1, as `places_in_group` gives them for ``-keys``, (n,).
    codes
        Cluster of each row, (n,).
    counts
        Rows to take of each cluster, (k,), at most its size.

    Examples
    --------
    >>> draw_from_clusters(np.array([3, 1, 2, 2, 1]), np.array([0, 0, 0, 1, 1]), np.array([2, 1])).tolist()
    [1, 4, 2]
    """
    rows = np.flatnonzero(places <= counts[codes])
    positions = (places[rows] - 0.5) / counts[codes[rows]]
    return rows[np.lexsort((codes[rows], positions))]


def mean_by_cluster(
    values: Float[np.ndarray, " n"], codes: Int[np.ndarray, " n"], n_clusters: int
) -> Float[np.ndarray, " k"]:
    """Return the mean of the values that are not NaN in each cluster, NaN where there is none."""
    known = ~np.isnan(values)
    counts = np.bincount(codes[known], minlength=n_clusters)
    sums = np.bincount(codes[known], weights=values[known], minlength=n_clusters)
    means = np.full(n_clusters, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def update_cluster_weights(
    weights: Float[np.ndarray, " k"],
    scores: Float[np.ndarray, " k"],
    update: WeightUpdate = "hedge",
    tau: float = 1.0,
) -> Float[np.ndarray, " k"]:
    """Return the next round's weights of clusters, adding up to 1; a higher score means more.

    Iterative kMQ [1]_ multiplies the weights with the scores over their sum (equation 6), which is
    no distribution once a score is negative. ``hedge`` uses exp(score / tau) instead of the
    score: the multiplicative weights update. ``official`` is what the published code does instead,
    the softmax of the scores, which forgets the weights (and has no tau). A cluster without a score
    (NaN) gets the mean of the others; with no score at all the weights stay as they are.

    References
    ----------
    .. [1] Yu et al., Diversify and Conquer: Diversity-Centric Data Selection with Iterative
       Refinement, 2024. https://arxiv.org/abs/2409.11378
    """
    known = ~np.isnan(scores)
    if not known.any():
        return np.asarray(weights / weights.sum())
    filled = np.where(known, scores, scores[known].mean())
    with np.errstate(divide="ignore"):
        exponents = filled if update == "official" else np.log(weights) + filled / tau
    raised = np.exp(exponents - exponents.max())
    return np.asarray(raised / raised.sum())
