"""The charts of a pool, `pool.plot`, drawn like those of reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.algorithms.overlap import jaccard_matrix
from curate.errors import ConfigError, DataError
from curate.views.charts import svg
from curate.views.charts.numbers import Values, bin_counts, bin_edges, short
from curate.views.charts.points import MAX_POINTS, Kinds, Points, Ramp, kinds, scatter
from curate.views.charts.text import one_line
from curate.views.notebook import columns as read
from curate.views.notebook.charts import Picture, Pictures
from curate.views.notebook.near import plane
from curate.views.notebook.proof_plots import ProofPlots
from curate.views.report.selection_sections import tenths_chart

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.api.selection import StoredSelection

SHARE: Final = "share of examples, %"
MAX_COLUMNS: Final = 12
MAX_SOURCES: Final = 12
NEWEST: Final = 12
FEW: Final = 7  # distinct whole numbers up to which they are categories
TIP_CHARS: Final = 70


@final
@dataclass(frozen=True, slots=True)
class PoolPlots:
    """Charts of one pool. Each reads what it needs in short queries and returns a `Picture`.

    Columns are score columns such as ``likelihood.mean_logp``, facts such as ``n_chars``,
    ``source`` or ``dataset``, or expressions over them, as in ``--where``. A selection is a
    `StoredSelection` or an id.
    """

    pool: "Pool"

    def histogram(self, column: str, *selections: "StoredSelection | str") -> Picture:
        """Draw the distribution of a column, in the pool and in selections."""
        columns = read.read_columns(self.pool.store, column)
        values = columns.numbers(column)
        label = read.axis_label(self.pool.store, column)
        return self._histogram(values, columns, f"Distribution of {column}", label, selections)

    def histograms(self, *columns: str) -> Pictures:
        """Draw the distribution of each named column; default: of every score."""
        return Pictures(
            self.histogram(column) for column in columns or read.score_columns(self.pool.store)
        )

    def correlations(self, *columns: str) -> Picture:
        """Draw the rank correlation (Spearman) of each pair of columns; default: of the scores."""
        import polars as pl

        wanted = list(columns or read.score_columns(self.pool.store)[:MAX_COLUMNS])
        if len(wanted) < 2:
            raise ConfigError(
                f"a correlation needs two columns, got {wanted}; name two: "
                "pool.plot.correlations('likelihood.mean_logp', 'n_chars')"
            )
        scores = read.read_columns(self.pool.store, *wanted)
        ranks = [pl.Series(scores.numbers(name)).rank().to_numpy() for name in wanted]
        matrix = [[_correlation(a, b) for b in ranks] for a in ranks]
        title = "Rank correlation of scores (Spearman)"
        drawing = svg.heat_map(wanted, wanted, matrix, title, signed=True)
        note = f"Over {len(scores.view):,} examples; blue is negative, vermillion positive."
        return Picture(title, drawing, f"{note} {scores.remark}".strip())

    def scatter(self, x: str, y: str, colour: "str | StoredSelection | None" = None) -> Picture:
        """Draw one column against another, coloured by a column or by being in a selection.

        Beyond 1,500 examples, squares stand for groups of them.
        """
        own, by = [x, y], [colour] if isinstance(colour, str) else []
        columns = read.read_columns(self.pool.store, *dict.fromkeys([*own, *by]))
        painted = None
        if isinstance(colour, str):
            painted = _colouring(colour, columns.raw(colour))
        elif colour is not None:
            painted = _in_or_out(colour, read.picked(columns.view, colour))
        store = self.pool.store
        points = Points(
            columns.numbers(x), columns.numbers(y), read.axis_label(store, x),
            read.axis_label(store, y, read.HIGH), painted, self._tips(columns.view.ids),
        )  # fmt: skip
        title = f"{y} against {x}"
        drawing, note = scatter(points, title)
        return Picture(title, drawing, f"{note} {columns.remark}".strip())

    def map(self, colour: "str | StoredSelection" = "source", column: str | None = None) -> Picture:
        """Draw stored vectors in the plane of their two largest principal components.

        Parameters
        ----------
        colour
            A column, or a selection: picked or not.
        column
            Which vectors: ``embedding.vector``, or an alias; the newest by default.
        """
        from curate.store.ids import Lookup

        points, ids, shares, name = plane(self.pool.store, column)
        if isinstance(colour, str):
            columns = read.read_columns(self.pool.store, colour)
            values, known, remark = columns.raw(colour), columns.view.ids, columns.remark
        else:
            columns = read.read_columns(self.pool.store, "n_chars")
            values, known, remark = read.picked(columns.view, colour), columns.view.ids, ""
        places = Lookup(known)(ids)
        at, rows = np.flatnonzero(places >= 0), places[places >= 0]
        painted = (
            _colouring(colour, values[rows])
            if isinstance(colour, str)
            else _in_or_out(colour, values[rows])
        )
        x_label, y_label = (
            f"{word} principal component, {share:.0%} of the variance"
            for word, share in zip(("first", "second"), shares, strict=True)
        )
        x, y = points[at, 0].astype(np.float64), points[at, 1].astype(np.float64)
        by = colour if isinstance(colour, str) else read.names_of([colour])[0]
        title = f"Map of {name}, by {by}"
        drawing, note = scatter(Points(x, y, x_label, y_label, painted, self._tips(ids[at])), title)
        return Picture(title, drawing, f"{note} {remark}".strip())

    def overlap(self, *selections: "StoredSelection | str") -> Picture:
        """Draw how much selections share; default: the newest twelve."""
        chosen = self._selections(selections)
        if not chosen:
            known = self.pool.status()["selections"][-NEWEST:]
            chosen = [self.pool.selection(selection["selection_id"]) for selection in known]
        if len(chosen) < 2:
            raise DataError(
                f"an overlap needs two selections, but there is {len(chosen) or 'none'}; make "
                "another: pool.select('random', budget='10%')"
            )
        names = read.names_of(chosen)
        matrix = jaccard_matrix([selection.ids for selection in chosen])
        title = "Overlap of selections: shared over all examples of both (Jaccard)"
        note = "1 means the same set, 0 nothing in common."
        return Picture(title, svg.heat_map(names, names, matrix, title), note)

    def sources(self, *selections: "StoredSelection | str") -> Picture:
        """Draw the share of each source in the pool and in selections, largest differences first."""
        view = read.read_columns(self.pool.store, "n_chars").view
        assert view.sources is not None
        codes, names = view.sources, view.source_names
        chosen = self._selections(selections)
        counts = [np.bincount(codes, minlength=len(names))]
        counts += [
            np.bincount(codes[read.picked(view, selection)], minlength=len(names))
            for selection in chosen
        ]
        shares = [100.0 * count / max(int(count.sum()), 1) for count in counts]
        apart = np.max([np.abs(share - shares[0]) for share in shares], axis=0)
        order = np.lexsort((-shares[0], -apart))[:MAX_SOURCES].tolist()
        series = [
            svg.Series(name, [float(share[k]) for k in order])
            for name, share in zip(["pool", *read.names_of(chosen)], shares, strict=True)
        ]
        title = "Shares of the sources"
        more = len(names) - len(order)
        note = f"{more:,} more sources differ less and are not shown." if more else ""
        shown = [one_line(names[k], 60) for k in order]
        return Picture(title, svg.bars(shown, series, SHARE, title), note)

    def lengths(self, *selections: "StoredSelection | str") -> Picture:
        """Draw the lengths of the examples in the pool and in selections."""
        columns, column, unit = read.lengths(self.pool.store)
        label = f"length of prompt and response, {unit}"
        return self._histogram(columns.numbers(column), columns, "Lengths", label, selections)

    def length_shares(self, selection: "StoredSelection | str") -> Picture:
        """Draw the share of each tenth of the pool, by length, that a selection includes."""
        columns, column, unit = read.lengths(self.pool.store)
        [chosen] = self._selections([selection])
        known = columns.numbers(column)
        taken = known[read.picked(columns.view, chosen)]
        return Picture.of(tenths_chart(np.sort(known), taken, unit))

    def curve(self, proof: Mapping[str, Any]) -> Pictures:
        """Draw each method's result at each budget of a proof."""
        return ProofPlots(proof).curve()

    def differences(self, proof: Mapping[str, Any]) -> Pictures:
        """Draw the paired difference of each method from random, with its interval."""
        return ProofPlots(proof).differences()

    def cost(self, proof: Mapping[str, Any]) -> Pictures:
        """Draw the seconds of scoring and of training of each method."""
        return ProofPlots(proof).cost()

    def _histogram(
        self, values: Values, columns: read.Columns, title: str, label: str,
        selections: "Sequence[StoredSelection | str]",
    ) -> Picture:  # fmt: skip
        edges = bin_edges(values)
        pool = bin_counts(values, edges)
        series = [svg.Series("pool", pool.percent.tolist())]
        chosen = self._selections(selections)
        for name, selection in zip(read.names_of(chosen), chosen, strict=True):
            taken = bin_counts(values[read.picked(columns.view, selection)], edges)
            series.append(svg.Series(name, taken.percent.tolist()))
        n_outside = pool.n_below + pool.n_above
        outside = (
            f"{n_outside:,} of {pool.n:,} values are outside the chart (from "
            f"{short(float(values.min()))} to {short(float(values.max()))})."
        )
        note = " ".join(filter(None, (outside if n_outside else "", columns.remark)))
        return Picture(title, svg.histogram(edges.tolist(), series, label, title, SHARE), note)

    def _selections(self, given: "Sequence[StoredSelection | str]") -> "list[StoredSelection]":
        return [
            self.pool.selection(selection) if isinstance(selection, str) else selection
            for selection in given
        ]

    def _tips(self, ids: "np.ndarray[Any, np.dtype[np.bytes_]]") -> list[str]:
        """Return the id and the beginning of the prompt of each example, where there are few."""
        if len(ids) > MAX_POINTS:
            return []

        names = [example_id.decode("ascii") for example_id in ids.tolist()]
        prompts = self.pool.store.examples_by_id(names)["prompt"].to_pylist()
        return [
            f"{name[:8]} {one_line(prompt or '', TIP_CHARS)}"
            for name, prompt in zip(names, prompts, strict=True)
        ]


def _colouring(name: str, values: np.ndarray[Any, Any]) -> Kinds | Ramp:
    """Return categories for texts, booleans and few whole numbers, and a ramp for other numbers."""
    if values.dtype.kind == "b":
        return kinds(name, ["yes" if value else "no" for value in values.tolist()])
    if values.dtype.kind not in "fiu":
        return kinds(name, values.tolist())
    numbers = values.astype(np.float64)
    if bool((numbers == np.floor(numbers)).all()) and len(np.unique(numbers)) <= FEW:
        return kinds(name, [short(value) for value in numbers.tolist()])
    return Ramp(name, numbers)


def _in_or_out(selection: "StoredSelection", taken: np.ndarray[Any, Any]) -> Kinds | Ramp:
    """Return picked or not; if squares stand for many examples, the share picked."""
    name = read.names_of([selection])[0]
    if len(taken) > MAX_POINTS:
        shares = taken.astype(np.float64)
        return Ramp(f"share in {name}", shares, (0.0, min(1.0, 3 * float(shares.mean())) or 1.0))
    return Kinds(name, np.where(taken, 0, -1), ["picked"], "not picked")


def _correlation(a: Values, b: Values) -> float | None:
    if not len(a) or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
