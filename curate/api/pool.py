"""The commands of `curate` as methods of a pool: what the command line calls and notebooks use."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from curate.api.commands.export import ExportCommand
from curate.api.commands.groups import OnError
from curate.api.commands.ingest import IngestCommand
from curate.api.commands.option import from_keywords, takes
from curate.api.commands.prove import ProveCommand
from curate.api.commands.report import ReportCommand
from curate.api.commands.score import ScoreCommand
from curate.api.commands.select import SelectCommand
from curate.api.commands.train import TrainCommand
from curate.api.selection import StoredSelection
from curate.api.targets import PoolTargets
from curate.contracts.progress import Progress, SilentProgress
from curate.select.explain import explain
from curate.views.notebook.cards import pool_card
from curate.views.notebook.near import nearest
from curate.views.notebook.plots import PoolPlots
from curate.views.notebook.progress import notebook_progress
from curate.views.notebook.rows import Rows
from curate.views.notebook.tables import example_rows, score_rows

if TYPE_CHECKING:
    import polars as pl

    from curate.api.jobs.job import Job
    from curate.api.proof import Proof
    from curate.data.read.ingest import IngestReport
    from curate.scoring.estimate import PlanReport
    from curate.scoring.outcome import ScoreReport
    from curate.train.record import TrainRecord

__all__ = ["OnError", "Pool", "StoredSelection", "open"]


def open(path: str | Path = "curate.duckdb", *, create: bool = True) -> "Pool":
    """Open a pool; create an empty one if there is none.

    Nothing is held open between calls: other processes can use the same store.
    """
    return Pool(path, create=create)


@final
class Pool:
    """All candidate examples of one store, and the commands that work on them.

    Parameters
    ----------
    path
        The DuckDB file; its folder of parts lies beside it.
    create
        Whether to create the store if it does not exist.
    progress
        Receiver of progress. Default: bars in a notebook, silence elsewhere.
    """

    def __init__(
        self, path: str | Path = "curate.duckdb", *, create: bool = True,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        from curate.store import Store

        self.progress: Progress = progress or notebook_progress() or SilentProgress()
        self.store: Store = Store(path, create=create)

    def __len__(self) -> int:
        return self.store.n_examples()

    def __repr__(self) -> str:
        sets = sorted({status.alias for status in self.store.score_sets() if status.complete})
        return f"Pool({str(self.store.path)!r}, {len(self):,} examples, scores: {', '.join(sets) or 'none'})"

    def _repr_html_(self) -> str:
        return pool_card(self)

    @takes(IngestCommand)
    def ingest(self, *data: str | Path, **options: Any) -> "list[IngestReport]":
        """Read datasets into the pool; a dataset that is already stored is not read twice.

        Raises `DataError` naming file and row; the pool is then as before.
        """
        return from_keywords(IngestCommand, {"data": data, **options}).run(self)

    @property
    def target(self) -> PoolTargets:
        """The target sets: ``pool.target.add("dev", "dev.jsonl")``, ``list()``, ``remove("dev")``."""
        return PoolTargets(self)

    @takes(ScoreCommand)
    def score(self, *scorers: str, **options: Any) -> "ScoreReport | PlanReport":
        """Score every example that has no score yet; forward scorers share passes.

        ``within`` is a selection: only its examples are scored, into partial score sets, which are
        read only by their id. ``dry_run`` and ``limit`` plan and time instead, and store
        nothing.
        """
        return from_keywords(ScoreCommand, {"scorers": scorers, **options}).run(self)

    @takes(SelectCommand)
    def select(self, method: str | None = None, **options: Any) -> "StoredSelection":
        """Choose a subset with a method, ingesting ``data`` and scoring what is missing first.

        ``method`` may be left out when ``rank`` (an expression, highest first) is given.
        """
        return from_keywords(SelectCommand, {"method": method, **options}).run(self)

    @takes(TrainCommand)
    def train(self, output: str | Path, **options: Any) -> "TrainRecord | dict[str, Any]":
        """Fine-tune a model on a selection or a file; see `curate.api.train.train_on`."""
        return from_keywords(TrainCommand, {"output": output, **options}).run(self)

    @takes(ProveCommand)
    def prove(self, *methods: str, **options: Any) -> "Proof":
        """Test whether training on each method's subset beats random subsets; see `curate.prove`.

        ``train`` may be given beside ``settings``: both are settings by dotted name.
        """
        return from_keywords(ProveCommand, {"methods": methods, **options}).run(self)

    @takes(ReportCommand)
    def report(self, output: str | Path, **options: Any) -> dict[str, Any]:
        """Write a self-contained report of the pool, its scores and selections, or of a proof."""
        return from_keywords(ReportCommand, {"output": output, **options}).run(self)

    def selection(self, selection_id: str) -> "StoredSelection":
        """Return a stored selection."""
        return StoredSelection(self, self.store.selection(selection_id))

    @takes(ExportCommand)
    def export(self, selection: str, output: str | Path, **options: Any) -> dict[str, Any]:
        """Write a selection and its manifest to a file or folder; return what was written where."""
        given = {"selection": selection, "output": output, **options}
        return from_keywords(ExportCommand, given).run(self)

    def explain(self, example: str, **options: Any) -> dict[str, Any]:
        """Return everything known about one example; see `curate.select.explain.explain`."""
        return explain(self.store, example, **options)

    @property
    def plot(self) -> "PoolPlots":
        """Charts of the pool, its scores and its selections; see `curate.views.notebook.plots`."""
        return PoolPlots(self)

    def examples(
        self, *, where: str | None = None, ids: Sequence[str] | None = None,
        by: str | None = None, limit: int | None = None,
    ) -> "Rows":  # fmt: skip
        """Return examples with their texts, convertible to any form a notebook needs.

        ``where`` and ``by`` are expressions over columns, as in ``--where`` and ``--rank``: the
        highest come first, and ``by`` becomes a column. ``ids`` are ids, id prefixes or ids of
        the input, and give the order without ``by``. With neither, examples come in reading order,
        responses to one prompt together.
        """
        return example_rows(self.store, where, ids, by, limit)

    def scores(self, *aliases: str, vectors: bool = False) -> "Rows":
        """Return ``alias.column`` of every example, sorted by id; default: of all complete score sets.

        A failed example has null. ``vectors``: include columns of lists and vectors.
        """
        return score_rows(self.store, aliases, vectors)

    def neighbours(self, example: str, k: int = 10, *, column: str | None = None) -> "Rows":
        """Return the k examples whose stored vectors are nearest to an example's, by cosine."""
        return Rows(nearest(self.store, example, k, column), "neighbours")

    def start(self, command: str, **options: Any) -> "Job":
        """Start a command on this store in its own process, which outlives this one.

        ``pool.start("score", scorer="likelihood", model="m")`` runs ``curate score --scorer
        likelihood --model m``. The `Job` reports its progress; `jobs` finds it again.
        """
        from curate.api.jobs.job import start

        return start(self.store.path, self.store.parts, command, options, self.progress)

    def jobs(self) -> "list[Job]":
        """Return the commands started in the background, also by notebooks that have ended, newest first."""
        from curate.api.jobs.job import jobs

        return jobs(self.store.parts, self.progress)

    def job(self, job_id: str) -> "Job":
        """Return one of `jobs` by its id or id prefix."""
        from curate.api.jobs.job import job

        return job(self.store.parts, job_id, self.progress)

    def sql(self, query: str) -> "pl.DataFrame":
        """Answer a read-only SQL query over the documented relations, as a polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.store.query(query))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def status(self) -> dict[str, Any]:
        """Return what the store holds."""
        return self.store.status()
