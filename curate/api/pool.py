"""The commands of `curate` as methods of a pool: what the command line calls and notebooks use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

from curate.api.options import refuse_unused, scoring_options, with_datasets
from curate.api.selection import StoredSelection
from curate.contracts.progress import Progress, SilentProgress
from curate.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from curate.api.jobs.job import Job
    from curate.api.proof import Proof
    from curate.data.read.ingest import IngestReport
    from curate.scoring.estimate import PlanReport
    from curate.scoring.outcome import ScoreReport
    from curate.train.record import TrainRecord
    from curate.views.notebook.plots import PoolPlots
    from curate.views.notebook.rows import Rows

__all__ = ["OnError", "Pool", "StoredSelection", "open"]

OnError: TypeAlias = Literal["fail", "skip"]


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
        from curate.views.notebook.progress import notebook_progress

        self.progress: Progress = progress or notebook_progress() or SilentProgress()
        self.store: Store = Store(path, create=create)

    def __len__(self) -> int:
        return self.store.n_examples()

    def __repr__(self) -> str:
        sets = sorted({status.alias for status in self.store.score_sets() if status.complete})
        return f"Pool({str(self.store.path)!r}, {len(self):,} examples, scores: {', '.join(sets) or 'none'})"

    def _repr_html_(self) -> str:
        from curate.views.notebook.cards import pool_card

        return pool_card(self)

    def ingest(
        self,
        *data: str,
        format: str = "auto",
        split: str = "train",
        source: str | None = None,
        columns: Mapping[str, str] | None = None,
        limit: int | None = None,
        on_error: OnError = "fail",
    ) -> "list[IngestReport]":
        """Read datasets into the pool; a dataset that is already stored is not read twice.

        Raises `DataError` naming file and row; the pool is then as before.
        """
        from curate.data.read.ingest import IngestOptions, ingest

        options = IngestOptions(
            format=format, split=split, source=source, columns=dict(columns or {}), limit=limit,
            on_error=on_error,
        )  # fmt: skip
        reports: list[IngestReport] = []
        for one in data:
            stage = f"reading {one}"
            self.progress.start(stage, None, "rows")
            found = ingest(self.store, one, options, self._counter(stage))
            self.progress.finish(stage)
            for report in found:
                self._say_detected(report)
            reports += found
        return reports

    def ingest_selection(
        self, selection_id: str, *, source: str | None, limit: int | None, on_error: OnError
    ) -> "list[IngestReport]":
        """Read a selection as a new dataset: its examples, in rank order."""
        from curate.data.write.rows import ExportOptions, export_selection

        path = self.store.parts / "selections" / f"{selection_id}.messages.jsonl"
        options = ExportOptions(to="messages", lossy=True)  # examples have no rejected response
        export_selection(self.store, selection_id, path, options)
        return self.ingest(
            str(path), format="messages", source=source or f"selection-{selection_id}",
            limit=limit, on_error=on_error,
        )  # fmt: skip

    def score(
        self,
        *scorers: str,
        model: str | None = None,
        model_for: Mapping[str, str] | None = None,
        alias: str | None = None,
        settings: Mapping[str, str] | None = None,
        within: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        **options: Any,
    ) -> "ScoreReport | PlanReport":
        """Score every example that has no score yet; forward scorers share passes.

        ``options`` are the fields of `curate.scoring.options.ScoringOptions`. ``within`` is a selection:
        only its examples are scored, into partial score sets, which are read only by their id.
        ``dry_run`` and ``limit`` plan and time instead, and store nothing.
        """
        import curate.views.notebook.cards  # noqa: F401 - registers how a notebook shows the report
        from curate.scoring import estimate, job, requests, scope
        from curate.scoring.recorded.record import check_from_checkpoints
        from curate.select.bind import scorer_settings

        if alias is not None and len(scorers) != 1:
            raise ConfigError(
                f"--as names one score set, and {len(scorers)} scorers are given "
                f"({', '.join(scorers)}); run them one at a time, each with its own --as"
            )
        if limit is not None and limit < 1:
            raise ConfigError(f"--limit must be at least 1, got {limit}")
        chosen = scoring_options(model, model_for, options)
        check_from_checkpoints([name.strip() for name in scorers], chosen)
        asked, runs = [], {}
        for name in dict.fromkeys(one.strip() for one in scorers):
            given = dict(settings or {})
            own = scorer_settings(name, given)
            if len(scorers) == 1:
                own |= {key: value for key, value in given.items() if "." not in key}
            recorded = requests.run_scorer(name, own)
            if recorded is not None:
                runs[alias or name] = recorded
                continue
            request = requests.make_request(self.store, name, alias or name, own, None, chosen)
            if request is None:
                raise ConfigError(requests.missing_model(name, chosen, own))
            asked.append(request)
        refuse_unused(settings or {}, scorers)
        if within is not None:
            scope.refuse(within, runs, estimated=dry_run or limit is not None)
            asked = scope.only_within(self.store, asked, within)
        if dry_run or limit is not None:
            for name, recorded in runs.items():
                self.progress.note(estimate.run_plan(name, recorded, chosen))
            return estimate.plan(self.store, asked, chosen, limit, self.progress)
        report = job.score(self.store, asked, chosen, self.progress)
        report = job.with_recorded(self.store, report, runs, chosen, self.progress)
        return replace(report, store=self.store)

    def select(
        self,
        method: str | None = None,
        *,
        budget: str | int | None = None,
        data: Sequence[str] = (),
        read: Mapping[str, Any] | None = None,
        rank: str | None = None,
        settings: Mapping[str, str] | None = None,
        where: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        quota: Mapping[str, str] | None = None,
        seed: int = 0,
        within: str | None = None,
        allow_stale: bool = False,
        model: str | None = None,
        model_for: Mapping[str, str] | None = None,
        dry_run: bool = False,
        **options: Any,
    ) -> "StoredSelection":
        """Choose a subset with a method, ingesting ``data`` and scoring what is missing first.

        ``method`` may be left out when ``rank`` (an expression, highest first) is given.
        """
        from curate.select.options import SelectOptions
        from curate.select.run import build_method, select

        if method is None and rank is None:
            raise ConfigError(
                "say how to select: --method NAME (see curate methods) or --rank EXPR"
            )
        chosen = SelectOptions(
            method=method or "top-k",
            budget=None if budget is None else str(budget),
            settings={**(settings or {}), **({"rank": rank} if rank is not None else {})},
            seed=seed,
            where=where,
            include=tuple(include),
            exclude=tuple(exclude),
            quota=dict(quota or {}),
            within=within,
            allow_stale=allow_stale,
        )
        build_method(chosen.method, chosen.settings)  # a wrong name fails before anything is read
        scoring = scoring_options(model, model_for, options)
        reports = self.ingest(*data, **dict(read or {}))
        if reports:
            ids = tuple(dict.fromkeys(report.dataset_id for report in reports))
            chosen = with_datasets(chosen, ids)
        if dry_run:
            return StoredSelection(self, self._plan_select(chosen, scoring))
        return StoredSelection(self, select(self.store, chosen, scoring, self.progress))

    def train(
        self,
        output: str | Path,
        *,
        model: str,
        selection: str | None = None,
        data: str | None = None,
        evaluate: Sequence[str] = (),
        record_trajectories: int | None = None,
        **options: Any,
    ) -> "TrainRecord | dict[str, Any]":
        """Fine-tune a model on a selection or a file; see `curate.api.train.train_on`."""
        from curate.api.train import train_on

        return train_on(
            self.store, Path(output), model=model, selection=selection, data=data,
            evaluate=tuple(evaluate), record_trajectories=record_trajectories,
            progress=self.progress, **options,
        )  # fmt: skip

    def prove(
        self,
        *methods: str,
        budget: str | int | Sequence[str | int],
        target: str | Sequence[str],
        model: str,
        model_for: Mapping[str, str] | None = None,
        data: Sequence[str] = (),
        read: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        **options: Any,
    ) -> "Proof":
        """Test whether training on each method's subset beats random subsets; see `curate.prove`.

        ``options`` are the fields of `ProveConfig`, `TargetOptions` and `ScoringOptions`.
        """
        from curate.api.proof import Proof
        from curate.prove.run import prove, split_options

        config, wanted, scoring = split_options(methods, budget, target, options)
        config.compared()  # a wrong name fails before anything is read
        chosen = scoring_options(model, model_for, scoring)
        reports = self.ingest(*data, **dict(read or {}))
        if reports:
            ids = tuple(dict.fromkeys(report.dataset_id for report in reports))
            config = with_datasets(config, ids)
        return Proof(prove(self.store, config, wanted, chosen, self.progress, dry_run=dry_run))

    def selection(self, selection_id: str) -> "StoredSelection":
        """Return a stored selection."""
        return StoredSelection(self, self.store.selection(selection_id))

    def export(self, selection_id: str, output: str | Path, **options: Any) -> dict[str, Any]:
        """Write a selection and its manifest to a file or folder; see `curate.data.write.export.export`."""
        from curate.data.write.export import export

        return export(self.store, selection_id, Path(output), **options)

    def explain(self, example: str, **options: Any) -> dict[str, Any]:
        """Return everything known about one example; see `curate.select.explain.explain`."""
        from curate.select.explain import explain

        return explain(self.store, example, **options)

    @property
    def plot(self) -> "PoolPlots":
        """Charts of the pool, its scores and its selections; see `curate.views.notebook.plots`."""
        from curate.views.notebook.plots import PoolPlots

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
        from curate.views.notebook.tables import example_rows

        return example_rows(self.store, where, ids, by, limit)

    def scores(self, *aliases: str, vectors: bool = False) -> "Rows":
        """Return ``alias.column`` of every example, sorted by id; default: of all complete score sets.

        A failed example has null. ``vectors``: include columns of lists and vectors.
        """
        from curate.views.notebook.tables import score_rows

        return score_rows(self.store, aliases, vectors)

    def neighbours(self, example: str, k: int = 10, *, column: str | None = None) -> "Rows":
        """Return the k examples whose stored vectors are nearest to an example's, by cosine."""
        from curate.views.notebook.near import nearest
        from curate.views.notebook.rows import Rows

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

    def _counter(self, stage: str) -> Callable[[int], None]:
        """Return a callback that takes the rows read so far and reports the new ones."""
        seen = 0

        def count(so_far: int) -> None:
            nonlocal seen
            self.progress.advance(stage, so_far - seen)
            seen = so_far

        return count

    def _say_detected(self, report: "IngestReport") -> None:
        verb = "already in the store" if report.reused else f"{report.n_read:,} rows"
        self.progress.note(
            f"{report.name}: {report.container}, detected format {report.format}, {verb}"
        )
        if report.preview and not report.reused:
            self.progress.note(f"first example, as it will be read:\n{report.preview}")
        for warning in report.warnings:
            self.progress.note(f"warning: {warning}")

    def _plan_select(self, chosen: Any, scoring: Any) -> dict[str, Any]:
        from curate.select.plan import plan_select

        return plan_select(self.store, chosen, scoring, self.progress)
