"""Bins, ticks and how numbers are written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.views.charts.numbers import (
    bin_counts,
    bin_edges,
    most_common,
    percent,
    quantiles,
    short,
    sketch,
    tick_text,
    ticks,
)

FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(st.lists(FINITE, min_size=1, max_size=60))
def test_every_value_is_in_a_bin_or_counted_outside(values):
    array = np.array(values)
    bins = bin_counts(array, bin_edges(array))
    assert bins.n == len(values)
    assert len(bins.counts) <= 41
    assert bins.percent.sum() <= 100.0 + 1e-9


def test_a_long_tail_is_left_outside_and_a_short_one_is_not():
    body = np.linspace(0, 1, 999)
    far = bin_counts(np.append(body, 1e6), bin_edges(np.append(body, 1e6)))
    assert far.n_above >= 1
    assert far.edges[-1] < 2
    near = bin_counts(np.append(body, 1.5), bin_edges(np.append(body, 1.5)))
    assert (near.n_above, near.edges[-1]) == (0, 1.5)


def test_one_value_has_one_bin():
    assert bin_counts(np.full(5, 3.0), bin_edges(np.full(5, 3.0))).counts.tolist() == [5]


def test_whole_numbers_have_bins_of_whole_width():
    edges = bin_edges(np.arange(1000.0))
    widths = np.diff(edges)
    assert set(widths.tolist()) == {25.0}
    assert edges[0] == -0.5


@given(FINITE, FINITE, st.integers(2, 10))
def test_ticks_are_even_and_inside(low, high, wanted):
    if not high - low > 1e-3 * max(abs(low), abs(high), 1e-3):
        return
    found = ticks(low, high, wanted)
    slack = 1e-6 * (high - low)
    assert 1 <= len(found) <= 2 * wanted + 2
    assert found[0] >= low - slack and found[-1] <= high + slack
    steps = np.diff(found)
    assert np.allclose(steps, steps[:1], rtol=1e-3) if len(steps) else True


def test_ticks_are_written_apart():
    for values in ([0.0, 0.5, 1.0], [0.0, 25_000.0, 50_000.0], [1e-5, 2e-5], [-1.0, 0.0], []):
        written = tick_text(values)
        assert len(set(written)) == len(values)


def test_the_most_common_value_of_nothing():
    assert np.isnan(most_common(np.array([]))[0])
    assert most_common(np.array([-5.0, 0.0, 0.0])) == (0.0, pytest.approx(2 / 3))


def _samples():
    rng = np.random.default_rng(0)
    wide = np.exp(rng.normal(0, 20, 3_000)) * rng.choice([-1, 1], 3_000)
    powers = 10.0 ** np.arange(-8, 9)
    near = np.concatenate([np.nextafter(powers, 0), powers, powers * (1 + 1e-8), -powers])
    whole = rng.integers(-30, 30, 3_000).astype(float)
    return [wide, near, whole, np.round(rng.normal(size=3_000), 3), np.full(7, 2.5), np.zeros(1)]


@pytest.mark.parametrize("values", _samples())
def test_values_in_order_are_summed_up_as_in_any_order(values):
    ordered = np.sort(values)
    scale = 10.0 ** (5 - np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values)))))
    rounded, counts = np.unique(np.round(values * scale) / scale, return_counts=True)
    most = float(rounded[counts.argmax()]), float(counts.max() / len(values))
    assert most_common(ordered) == most
    shares = [0.0, 0.005, 0.25, 1 / 3, 0.5, 0.99, 1.0]
    assert quantiles(ordered, shares).tolist() == np.quantile(values, shares).tolist()
    edges = bin_edges(values)
    assert bin_edges(ordered, in_order=True).tolist() == edges.tolist()
    for some in (edges, edges[:-1] + np.diff(edges) / 3, edges[:1] + [0.0, 1.0]):
        if len(some) > 1:
            found, expected = bin_counts(ordered, some, in_order=True), bin_counts(values, some)
            assert found.counts.tolist() == expected.counts.tolist()
            assert (found.n_below, found.n_above) == (expected.n_below, expected.n_above)


def test_numbers_that_are_none_are_dashes():
    assert [short(x) for x in (None, float("nan"), float("inf"), float("-inf"), 0.0)] == [
        "-", "-", "∞", "-∞", "0",
    ]  # fmt: skip
    assert percent(0, 0) == "-"


def test_a_sketch_has_one_mark_a_bin():
    bins = bin_counts(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    assert sketch(bins) == "0 ▄█ 1"
