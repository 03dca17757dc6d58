"""Numbers on a page: bins, quantiles, ticks, and how to write them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

Values = np.ndarray[Any, np.dtype[np.float64]]

N_BINS: Final = 40
TAIL: Final = 0.005
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_TICKS: Final = 20


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts of values between edges.

    Parameters
    ----------
    edges
        Ascending, one more than there are bins.
    counts
        Values in each bin; the last one holds its right edge.
    n_below, n_above
        Values outside the edges.
    """

    edges: Values
    counts: np.ndarray[Any, np.dtype[np.int64]]
    n_below: int
    n_above: int

    @property
    def n(self) -> int:
        """Number of values, those outside the edges included."""
        return int(self.counts.sum()) + self.n_below + self.n_above

    @property
    def percent(self) -> Values:
        """Share of all values in each bin, in percent."""
        return 100.0 * self.counts / max(self.n, 1)


def quantiles(ordered: Values, shares: Sequence[float]) -> Values:
    """Return the quantiles of ascending values as `np.quantile` does, but look at no others.

    Examples
    --------
    >>> quantiles(np.array([1.0, 2.0, 4.0]), [0.0, 0.25, 1.0]).tolist()
    [1.0, 1.5, 4.0]
    """
    at = np.asarray(shares) * (len(ordered) - 1)
    before = np.floor(at).astype(np.int64)
    low, high = ordered[before], ordered[np.minimum(before + 1, len(ordered) - 1)]
    part, between = at - before, high - low
    found: Values = np.where(part < 0.5, low + between * part, high - between * (1 - part))
    return found


def bin_edges(values: Values, *, in_order: bool = False) -> Values:
    """Return at most 40 bins over finite values; a long tail beyond 0.5% of them is left outside.

    A tail is long when it more than doubles the range. Whole numbers get bins of whole width,
    centred on them; a single value gets one bin. ``in_order``: the values ascend.

    Examples
    --------
    >>> bin_edges(np.array([1.0, 2.0, 2.0, 4.0])).tolist()
    [0.5, 1.5, 2.5, 3.5, 4.5]
    """
    ordered = values if in_order else np.sort(values)
    low, high = float(ordered[0]), float(ordered[-1])
    inner_low, inner_high = quantiles(ordered, [TAIL, 1 - TAIL]).tolist()
    spread = inner_high - inner_low
    low = inner_low if spread > 0 and inner_low - low > spread else low
    high = inner_high if spread > 0 and high - inner_high > spread else high
    if low == high:
        half = max(0.5, abs(low) * 0.01)
        return np.array([low - half, low + half])
    if bool((values == np.floor(values)).all()):
        low, high = math.floor(low), math.ceil(high)
        width = max(1, math.ceil((high - low + 1) / N_BINS))
        n = math.ceil((high - low + 1) / width)
        return low - 0.5 + width * np.arange(n + 1, dtype=np.float64)
    return np.linspace(low, high, N_BINS + 1)


def bin_counts(values: Values, edges: Values, *, in_order: bool = False) -> Bins:
    """Count finite values between edges; ``in_order``: the values ascend."""
    if in_order:
        until = np.searchsorted(values, edges)
        until[-1] = np.searchsorted(values, edges[-1], "right")
        return Bins(edges, np.diff(until), int(until[0]), len(values) - int(until[-1]))
    counts, _ = np.histogram(values, edges)
    below, above = int((values < edges[0]).sum()), int((values > edges[-1]).sum())
    return Bins(edges, counts, below, above)


def bins_of(ordered: Values) -> Bins:
    """Count ascending values in bins of their own."""
    return bin_counts(ordered, bin_edges(ordered, in_order=True), in_order=True)


def most_common(ordered: Values) -> tuple[float, float]:
    """Return the most common of ascending values, to 6 significant digits, and its share.

    NaN and 0 if there are none; the lowest of several that are as common.

    Examples
    --------
    >>> most_common(np.array([0.5, 0.5 + 1e-9, 2.0, 3.0]))
    (0.5, 0.5)
    """
    if not len(ordered):
        return math.nan, 0.0
    first = _changes(ordered)
    values = ordered[first]
    digits = np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values))))
    part = _changes(digits)
    scale = np.repeat(10.0 ** (5 - digits[part]), np.diff(part, append=len(digits)))
    rounded = np.round(values * scale) / scale
    kind = _changes(rounded)  # in order, too
    counts = np.diff(first[kind], append=len(ordered))
    return float(rounded[kind[counts.argmax()]]), float(counts.max() / len(ordered))


def _changes(values: Values) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return where a value differs from the one before, the first place included."""
    is_new = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=is_new[1:])
    return np.flatnonzero(is_new)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about as many as wanted.

    Examples
    --------
    >>> ticks(0, 23)
    [0.0, 5.0, 10.0, 15.0, 20.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    if last <= first and wanted < _MOST_TICKS:  # one tick says nothing about the scale
        return ticks(low, high, 2 * wanted)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def short(value: float | None) -> str:
    """Write a number with about four significant digits.

    Examples
    --------
    >>> [short(x) for x in (0.1234567, 1234567, 12.50, 1e-7, -3.14159, None)]
    ['0.1235', '1,234,567', '12.5', '1.000e-07', '-3.142', '-']
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if value == int(value) and size < 1e12:
        return f"{int(value):,}"
    if size >= 1e12 or size < 1e-4:
        return f"{value:.3e}"
    written = f"{value:,.{max(0, 3 - math.floor(math.log10(size)))}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def tick_text(values: Sequence[float]) -> list[str]:
    """Write ticks with the digits their steps need.

    Examples
    --------
    >>> tick_text([0.0, 0.25, 0.5]), tick_text([0.0, 50000.0])
    (['0.00', '0.25', '0.50'], ['0', '50k'])
    """
    largest = max(map(abs, values), default=0.0)
    if largest >= 10_000:
        unit, mark = next(u for u in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= u[0])
        return [f"{value / unit:g}{mark if value else ''}" for value in values]
    if 0 < largest < 1e-3:
        return [f"{value:g}" for value in values]
    digits = next(
        (n for n in range(7) if all(abs(round(v, n) - v) <= 1e-9 * largest for v in values)), 6
    )
    return [f"{value:.{digits}f}" for value in values]


def percent(part: float, whole: float) -> str:
    """Write a share in percent; small shares are not rounded to zero.

    Examples
    --------
    >>> percent(1, 3), percent(1, 10**5), percent(0, 5), percent(0, 0), percent(99_999, 100_000)
    ('33.3%', '<0.1%', '0%', '-', '>99.9%')
    """
    if not whole:
        return "-"
    share = 100 * part / whole
    if share in (0, 100):
        return f"{share:.0f}%"
    return "<0.1%" if share < 0.1 else ">99.9%" if share > 99.9 else f"{share:.1f}%"


def sketch(bins: Bins) -> str:
    """Draw a histogram as one line of text, for pages without pictures.

    Examples
    --------
    >>> sketch(bin_counts(np.array([1.0, 2.0, 2.0, 4.0]), np.arange(0.5, 5.0)))
    '0.5 ▄█ ▄ 4.5'
    """
    top = max(int(bins.counts.max(initial=0)), 1)
    bars = "".join(" ▁▂▃▄▅▆▇█"[math.ceil(8 * n / top)] for n in bins.counts.tolist())
    return f"{short(float(bins.edges[0]))} {bars} {short(float(bins.edges[-1]))}"
