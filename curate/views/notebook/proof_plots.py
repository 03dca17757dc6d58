"""The charts of a proof: `proof.plot`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from curate.errors import DataError
from curate.prove.result_table import METRICS
from curate.views.notebook.charts import Picture, Pictures
from curate.views.report.proofs import sections as charts


@final
@dataclass(frozen=True, slots=True)
class ProofPlots:
    """Charts of one proof, the document that `Pool.prove` returns."""

    document: Mapping[str, Any]

    def curve(self) -> Pictures:
        """Draw each method's result at each budget, with intervals; one chart per metric.

        Raises `DataError` for a proof of one budget.
        """
        self._check()
        budgets = list(map(str, self.document["budgets"]))
        if len(budgets) < 2:
            raise DataError(
                f"a budget curve needs two budgets, but this proof has {budgets[0]}; prove with "
                "several: pool.prove(..., budget=['5%', '10%', '20%'])"
            )
        return Pictures(Picture.of(chart) for chart in charts.curve_charts(self.document))

    def means(self) -> Pictures:
        """Draw the mean of each method with its interval; one chart per budget, target and metric."""
        return self._each(charts.means_chart)

    def differences(self) -> Pictures:
        """Draw the paired difference of each method from random, with its interval."""
        return self._each(charts.differences_chart)

    def cost(self) -> Pictures:
        """Draw the seconds of scoring and of training of each method; one chart per budget."""
        self._check()
        costs = self.document["costs"].items()
        return Pictures(Picture.of(charts.cost_chart(str(b), cost)) for b, cost in costs)

    def overlap(self) -> Pictures:
        """Draw how much of one method's subset is in another's; one chart per budget."""
        self._check()
        overlaps = self.document["overlap"].items()
        return Pictures(
            Picture.of(charts.overlap_chart(str(b), overlap)) for b, overlap in overlaps
        )

    def _each(self, draw: Any) -> Pictures:
        self._check()
        drawn = []
        for result in self.document["results"]:
            chart = Picture.of(draw(result))
            metric = METRICS[result["metric"]].partition(",")[0]
            about = f"{result['target']} at {result['budget']}, {metric}"
            drawn.append(replace(chart, title=f"{chart.title}: {about}"))
        return Pictures(drawn)

    def _check(self) -> None:
        if "results" not in self.document:
            raise DataError(
                "this is the plan of a proof; nothing is trained yet: run it without dry_run"
            )
