"""The figure of growth of every registered selector, up to ten million examples where that takes seconds."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from curate.contracts import Budget
from curate.registry import get_selector, names
from jobs.bench.children import in_child, peak_bytes
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.growth import LINEAR, QUADRATIC, exponent
from jobs.bench.growth_page import GrowthPage, Line, Size
from jobs.bench.made_views import TARGETS, made_view
from jobs.bench.paired import one_blas_thread

if TYPE_CHECKING:
    from curate.contracts import Selector, View

PATIENCE_S: Final = 30.0  # of processor time: a size that would take longer is left out
MOST_BYTES: Final = 12 * 1024**3  # the same of memory, the input included
TENTH: Final = Budget(0.1, "share")
ABOVE_SORT: Final = 0.05  # by which the exponent of a selector may exceed that of a sort
ENOUGH_S: Final = 1.0  # shorter selections are repeated, and the fastest counts
REPEATS: Final = 5
PAIRS: Final[Mapping[str, str]] = {
    "d4": "compares every pair of a cluster, and has more clusters in a larger pool",
    "deita": "compares every example with all that were taken",
    "facility-location": "compares every pair for the nearest neighbours",
    "k-center": "compares every example with each pick",
    "kmq": "has more clusters in a larger pool, up to 1,024",
    "semdedup": "compares every pair of a cluster, and has more clusters in a larger pool",
}
"""Selectors whose goal is that of comparing pairs; any other is to grow with the rows."""
NOTE: Final = (
    "Settings are the defaults, words and vectors made up. A selector is held against a stable sort of as many numbers, measured beside it: "
    "large pools do not fit the caches, so that even a sort grows faster than n log n. What "
    f"compares pairs has a fixed goal. A size is left out that would take over {PATIENCE_S:g} s or "
    f"{MOST_BYTES >> 30} GiB, judged by those before it."
)
NOT_MEASURED: Final[Mapping[str, str]] = {
    "clear-cascade": "scores by a model between two selections by clear",
    "clear-correct": "trains a model and lets it write",
    "instructmining-fit": "trains a model on each of many subsets",
    "instructmining-search": "trains a model at each size it tries",
    "kmq-iterative": "trains a model between rounds of cluster-draw",
    "loss-drop": "trains a model on the target set, and then ranks as top-k does",
    "pipeline": "runs selectors of this table one after the other",
}
"""Why a procedure has no line; one that is not named here spends what its steps do."""


def methods(bench: Bench) -> Figure:
    """Growth of every registered selector: the steepest of those that compare no pairs."""
    page = GrowthPage.open(bench, "selectors")
    sizes = bench.sizes.methods
    if page.reference is None:
        page.reference = in_child(measure_sort, sizes).value
    limit = round(page.reference.exponent + ABOVE_SORT, 2)
    for name in names("selector"):
        if not page.has(name):
            done = in_child(measure_selector, name, sizes, limit, profiler=bench.profiler)
            page.add(done.value)
    steps = "runs steps that are measured elsewhere"
    page.finish(NOTE, {name: NOT_MEASURED.get(name, steps) for name in names("procedure")})
    what = (
        f"a selection of {TENTH} from a view in memory that compares no pairs; the goal is the slope of "
        f"a stable sort of as many numbers, and {ABOVE_SORT:g}"
    )
    goal = Goal("<=", limit, LINEAR.unit)
    return growth_figure("selectors-growth", page.lines, goal, what)


def growth_figure(name: str, lines: Sequence[Line], goal: Goal, what: str) -> Figure:
    """Return the steepest line that is to be linear as a figure, held back by any other that is too steep."""
    linear = [line for line in lines if not line.pairs]
    steepest = max(linear, key=lambda line: line.exponent)
    over = [line for line in lines if not line.met]
    listed = "; ".join(
        f"{line.name} {', '.join(f'{size.cpu_s:.3g}' for size in line.sizes)} s ({line.exponent:.2f})"
        for line in sorted(lines, key=lambda line: -line.exponent)
    )
    pairs = sum(bool(line.pairs) for line in lines)
    beside = f", {pairs} of them comparing pairs (goal {QUADRATIC})" if pairs else ""
    too_steep = f"; over their goals: {', '.join(line.name for line in over)}" if over else ""
    most = max(size.rows for line in lines for size in line.sizes)
    detail = (
        f"{len(lines)} lines{beside}, up to {most:,} examples, processor seconds and exponent: {listed}"
        f"{too_steep}; each line with its sizes and memory in growth.md"
    )
    reference = f"largest slope of log processor seconds by log examples: {what}"
    return judged(name, steepest.exponent, goal, reference, detail, also=not over)


# What the child runs -----------------------------------------------------------------------------


def measure_selector(name: str, sizes: Sequence[int], limit: float) -> Line:
    """Select from ever larger views on one core; of those that compare pairs, from smaller ones too."""
    from curate.testing import variants

    selector = next(variants(get_selector(name)))

    def seconds(n: int) -> float:
        view = view_for(selector, n)
        return fastest(lambda: select(selector, view))

    select(selector, view_for(selector, min(sizes)))  # imports
    if name in PAIRS:
        sizes, limit = (sizes[0] // 10, *sizes), QUADRATIC.limit
    measured, left_out = measure(sizes, seconds)
    return Line(name, measured, limit, left_out, PAIRS.get(name, ""))


def measure_sort(sizes: Sequence[int]) -> Line:
    """Sort ever more numbers as selectors do."""

    def seconds(n: int) -> float:
        numbers = np.random.default_rng(0).random(n)
        return fastest(lambda: np.argsort(numbers, kind="stable"))

    measured, left_out = measure(sizes, seconds)
    return Line("a stable sort of as many numbers", measured, QUADRATIC.limit, left_out)


def measure(sizes: Sequence[int], seconds: Callable[[int], float]) -> tuple[list[Size], str]:
    """Measure ever larger sizes on one core; leave out the first that would exceed the patience, and say so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    measured: list[Size] = []
    with one_blas_thread():
        for n in sizes:
            left_out = refused(measured, n)
            if left_out:
                return measured, left_out
            measured.append(Size(n, seconds(n), peak_bytes()))
    return measured, ""


def fastest(use: Callable[[], object]) -> float:
    """Return the processor seconds of the fastest of some runs; long ones are run once."""
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < ENOUGH_S:
        began = time.process_time()
        use()
        times.append(time.process_time() - began)
    return min(times)


def refused(measured: Sequence[Size], n: int) -> str:
    """Return why n rows are left out, judged by the sizes before; "" if they are not."""
    if len(measured) < 2:
        return ""
    before, last = measured[-2:]
    ratio = n / last.rows
    slope = max(exponent([before.rows, last.rows], [before.cpu_s, last.cpu_s]), 1.0)
    expected_s = last.cpu_s * ratio**slope
    if expected_s > PATIENCE_S:
        return f"{n:,} left out: about {expected_s:,.0f} s"
    grown = (last.peak_bytes - before.peak_bytes) / (last.rows - before.rows)
    expected_bytes = last.peak_bytes + grown * (n - last.rows)
    if expected_bytes > MOST_BYTES:
        return f"{n:,} left out: about {expected_bytes / 1024**3:,.0f} GiB"
    return ""


def view_for(selector: "Selector", n: int) -> "View":
    """Return a view with what a selector reads."""
    targets = TARGETS if selector.uses_target else 0
    return made_view(selector.requires(), n, targets=targets)


def select(selector: "Selector", view: "View") -> None:
    """Select once."""
    chosen = selector.select(view, TENTH, np.random.default_rng(0))
    if not len(chosen):
        raise AssertionError(f"{selector.name} selected nothing from {len(view):,} examples")
