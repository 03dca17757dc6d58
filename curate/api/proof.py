"""A proof in a notebook: its document, a dictionary, with charts."""

from pathlib import Path
from typing import Any, final

from curate.views.notebook.cards import proof_card
from curate.views.notebook.proof_plots import ProofPlots
from curate.views.report.proofs.sections import read_proof


@final
class Proof(dict[str, Any]):
    """The document of a proof, as ``curate prove --json`` prints it; otherwise a plain dictionary.

    ``results`` has means, intervals and differences from random for each target, budget and metric;
    ``costs``, ``selections``, ``overlap`` and ``slices`` the rest. The plan of a dry run has
    ``plan`` and no results.
    """

    @classmethod
    def read(cls, path: str | Path) -> "Proof":
        """Read the NAME.json that a proof wrote; raise `DataError` if it is something else."""
        return cls(read_proof(Path(path)))

    @property
    def plot(self) -> "ProofPlots":
        """Charts: ``curve``, ``means``, ``differences``, ``cost``, ``overlap``."""
        return ProofPlots(self)

    def __repr__(self) -> str:
        name = Path(str(self.get("model", ""))).name
        if "results" not in self:
            n_trials = self.get("plan", {}).get("n_trials", 0)
            return f"Proof(plan of {n_trials:,} trials of {name!r})"
        said = [
            f"{result['metric']} on {result['target']} at {result['budget']}: "
            + ", ".join(
                f"{label} {row['verdict']}"
                for label, row in result["methods"].items()
                if row["delta_vs_random"] is not None or row["mean"] is None
            )
            for result in self["results"]
        ]
        return f"Proof({name!r}, {self['seeds']} seeds; {'; '.join(said)})"

    def _repr_html_(self) -> str:
        return proof_card(self, self.plot)
