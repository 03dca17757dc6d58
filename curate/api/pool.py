"""The commands of `curate` as methods of a pool: what the command line calls and notebooks use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from curate.api.commands.export import ExportCommand
from curate.api.commands.gather import GatherCommand
from curate.api.commands.groups import OnError
from curate.api.commands.import_scores import ImportScoresCommand
from curate.api.commands.ingest import IngestCommand
from curate.api.commands.option import check_path
from curate.api.commands.prove import ProveCommand
from curate.api.commands.report import ReportCommand
from curate.api.commands.score import ScoreCommand
from curate.api.commands.select import SelectCommand
from curate.api.commands.train import TrainCommand
from curate.api.keywords import (
    Arms,
    Chosen,
    Examples,
    Mask,
    Method,
    Reasoning,
    Schedule,
    Texts,
    Tracker,
    made,
    made_select,
    takes,
)  # fmt: skip
from curate.api.selection import ExportFormat, StoredSelection, id_of
from curate.api.targets import PoolTargets
from curate.contracts.progress import Progress, SilentProgress
from curate.data.message_column import with_message_lists
from curate.errors import StoreError
from curate.scorers.verifiers.verdict import VerifierName
from curate.select.explain import explain
from curate.store.objects import refuse_url_of_store
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
    from curate.scoring.arrivals import CommitReport
    from curate.scoring.estimate import PlanReport
    from curate.scoring.gather_options import Gathered
    from curate.scoring.imported import ImportedScores
    from curate.scoring.outcome import ScoreReport
    from curate.scoring.remote.publish import Published
    from curate.scoring.slices import SliceReport
    from curate.train.record import TrainRecord

__all__ = ["OnError", "Pool", "StoredSelection", "open"]


def open(path: str | Path = "curate.duckdb", *, create: bool = False) -> "Pool":
    """Open a pool; with ``create``, make an empty one if there is none.

    Nothing is held open between calls: other processes can use the same store.

    Raises `StoreError` if there is no store at this path, unless ``create`` is given.
    """
    refuse_url_of_store(str(path))
    file = Path(path).expanduser()
    check_path("store", file)
    if not (create or file.exists() or file.with_suffix(".parts").exists()):
        raise StoreError(
            f"there is no store at {file.resolve()}; correct the path, or create an empty one: "
            f"curate.open({str(path)!r}, create=True)"
        )
    return Pool(path, create=create)


@final
class Pool:
    """All candidate examples of one store, and the commands that work on them.

    Parameters
    ----------
    path
        The DuckDB file; its folder of parts lies beside it.
    create
        Whether to create the store if it does not exist, which otherwise is an error.
    progress
        Receiver of progress. Default: bars in a notebook, silence elsewhere.
    """

    def __init__(
        self, path: str | Path = "curate.duckdb", *, create: bool = False,
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
    def ingest(
        self, *data: Any, from_selection: Chosen | None = None, limit: int | None = None,
        format: str = "auto", split: str = "train", source: str | None = None,
        columns: Mapping[str, str] | None = None, roles: Mapping[str, str] | None = None,
        on_error: OnError = "fail",
    ) -> "list[IngestReport]":  # fmt: skip
        """Read datasets into the pool; a dataset that is already stored is not read twice.

        ``data`` are files, globs, folders and hub ids, or rows: a list or an iterator of dicts, a
        table of polars, pandas, Arrow or ``datasets``.

        Raises `DataError` naming file and row; the pool is then as before.
        """
        return made(IngestCommand, locals()).run(self)

    @property
    def target(self) -> PoolTargets:
        """The target sets: ``pool.target.add("dev", "dev.jsonl")``, ``list()``, ``remove("dev")``."""
        return PoolTargets(self)

    @takes(ScoreCommand)
    def score(
        self, *scorers: str, alias: str | None = None, settings: Mapping[str, Any] | None = None,
        within: Chosen | None = None, from_checkpoints: str | None = None, limit: int | None = None,
        dry_run: bool = False, model: str | None = None, adapter: str | None = None,
        reasoning: Reasoning | None = None, template_args: str | None = None,
        chat_template: str | None = None, mask: Mask | None = None,
        model_for: Mapping[str, str] | None = None, template: str = "method",
        revision: str | None = None, device: str = "auto", dtype: str = "auto",
        workers: int | None = None, max_failures: str | int = "1%", max_hours: float | None = None,
        batch_tokens: int | None = None, executor: str = "local", ray_address: str | None = None,
        num_gpus_per_worker: float | None = None, max_workers: int | None = None,
        slice: str | None = None, profile: str | None = None, parts: str | None = None,
        plan_only: bool = False, backend: str = "auto",
    ) -> "ScoreReport | PlanReport | SliceReport | Published":  # fmt: skip
        """Score every example that has no score yet; forward scorers share passes.

        ``within`` is a selection: only its examples are scored, into partial score sets, which are
        read only by their id. ``dry_run`` and ``limit`` plan and time instead, and store
        nothing. ``slice="3/8"`` scores every eighth shard, for `commit` to take in. ``parts`` is a URL
        that machines without the store share, ``profile`` a folder for traces.
        """
        return made(ScoreCommand, locals()).run(self)

    def commit(self, parts: str | None = None) -> "CommitReport":
        """Take in what slices and stopped runs left, here or below a URL; say which are missing."""
        from curate.scoring.arrivals import commit_arrived

        return commit_arrived(self.store, parts)

    def add_scores(
        self, scores: Any, *, name: str, by: str | None = None, columns: Sequence[str] = (),
        dataset: str | None = None,
    ) -> "ImportedScores":  # fmt: skip
        """Store scores made elsewhere as a score set; the same ones are stored once.

        Their columns can be used as ``name.column`` in expressions, plots and reports, like any
        other score. Examples without a row, and rows of no example, are counted and said.

        Parameters
        ----------
        scores
            A table of polars, pandas, Arrow or ``datasets``, a dict of columns, a list of dicts, or a
            file: numbers, text, true and false, and vectors, beside a column of ids.
        name
            Name of the score set.
        by
            The column with ids of examples or of the input, or ``position``: row by row as in the
            input. Default: ``id``, ``curate_id`` or ``external_id``.
        columns
            Columns to take. Default: all that can be scores.
        dataset
            The dataset whose ids or positions are meant, where several could be.

        Raises `ConfigError` where nothing says which row is which example, and `DataError` for a table
        that cannot be read or holds none of the pool's examples.
        """
        return made(
            ImportScoresCommand,
            {"scores": scores, "alias": name, "by": by, "columns": columns, "dataset": dataset},
        ).run(self)

    @takes(GatherCommand)
    def gather(
        self, *models: str, k: int = 4, temperature: float = 1.0, max_new_tokens: int = 512,
        seed: int = 0, server: str = "", served_model: str = "",
        verifier: VerifierName | None = None, reference: str = "", pattern: str = "",
        keep: Literal["all", "right"] = "all", where: str | None = None, limit: int | None = None,
        dry_run: bool = False, batch_tokens: int | None = None, reasoning: Reasoning | None = None,
        template_args: str | None = None, chat_template: str | None = None, mask: Mask | None = None,
        model_for: Mapping[str, str] | None = None, template: str = "method",
        revision: str | None = None, device: str = "auto", dtype: str = "auto",
        workers: int | None = None, max_failures: str | int = "1%", max_hours: float | None = None,
    ) -> "Gathered":  # fmt: skip
        """Ask models for responses to the pool's prompts, check them, and add them to the pool.

        ``k`` samples of each model to every distinct prompt become responses beside those there are, so
        that ``pool.select("grape", ...)`` chooses among all. Equal texts are one example;
        `explain` says where each came from. What is stopped continues where it was, and prompts that
        a model has answered with the same settings are not asked again.
        """
        return made(GatherCommand, locals()).run(self)

    @takes(SelectCommand)
    def select(
        self, method: Method | None = None, *, budget: str | float | None = None,
        where: str | None = None, rank: str | None = None, include: Examples = None,
        exclude: Examples = None, quota: Mapping[str, Any] | None = None,
        mix: str | Mapping[str, Any] | None = None,
        within: Chosen | None = None, target: str | None = None, seed: int = 0,
        name: str | None = None, settings: Mapping[str, Any] | None = None,
        allow_stale: bool = False, output: str | Path | None = None, dry_run: bool = False,
        data: Any = None, format: str = "auto", split: str = "train", source: str | None = None,
        columns: Mapping[str, str] | None = None, roles: Mapping[str, str] | None = None,
        on_error: OnError = "fail", model: str | None = None, adapter: str | None = None,
        reasoning: Reasoning | None = None, template_args: str | None = None,
        chat_template: str | None = None, mask: Mask | None = None,
        model_for: Mapping[str, str] | None = None, template: str = "method",
        revision: str | None = None, device: str = "auto", dtype: str = "auto",
        workers: int | None = None, max_failures: str | int = "1%", max_hours: float | None = None,
        batch_tokens: int | None = None, executor: str = "local", ray_address: str | None = None,
        num_gpus_per_worker: float | None = None, max_workers: int | None = None,
        backend: str = "auto", to: ExportFormat | None = None,
        order: Literal["rank", "input"] = "rank", annotate: bool = False,
        keep_duplicates: bool = False, overwrite: bool = False, **fields: Any,
    ) -> "StoredSelection":  # fmt: skip
        """Choose a subset with a method, ingesting ``data`` and scoring what is missing first.

        ``method`` is a name, an instance of a `Selector` or `Procedure`, or a function of
        ``(view, budget, rng)`` (see `curate.reads`); it may be left out when ``rank`` (an expression,
        highest first) is given. ``fields`` are settings of the method: ``pool.select("kmq",
        budget="10%", k=8)``. A name that is an option as well is given in ``settings``.
        """
        return made_select(locals()).run(self)

    @takes(TrainCommand)
    def train(
        self, output: str | Path, *, model: str, selection: Chosen | None = None,
        data: str | None = None, epochs: int | None = None, max_steps: int | None = None,
        evaluate: Texts = (), eval_every: int | None = None, patience: int | None = None,
        save_every: int | None = None, record_trajectories: int | None = None,
        trajectory_source: Literal["run", "train_log"] = "run", report_to: Tracker | None = None,
        gradient_checkpointing: bool = False, settings: Mapping[str, Any] | None = None,
        device: str = "auto", dtype: str = "auto", revision: str | None = None,
        split: str = "train", seed: int = 0, max_hours: float | None = None, dry_run: bool = False,
        reasoning: Reasoning | None = None, template_args: str | None = None,
        chat_template: str | None = None, mask: Mask | None = None, lora: bool = False,
        max_tokens: str | int | None = None, objective: str | None = None,
        policy: str | None = None, mixture: str | None = None, lr: float | None = None,
        schedule: Schedule | None = None, batch_tokens: int | None = None,
        micro_tokens: int | None = None, max_length: int | None = None,
        train_template: str | None = None, extractor: str | None = None,
        max_new_tokens: int | None = None, threads: int | None = None,
    ) -> "TrainRecord | dict[str, Any]":  # fmt: skip
        """Fine-tune a model on a selection or a file; see `curate.api.train.train_on`."""
        return made(TrainCommand, locals()).run(self)

    @takes(ProveCommand)
    def prove(
        self, *methods: str, budget: str | float | Sequence[str | float], target: Texts, model: str,
        data: Any = None, arms: Arms | None = None, seeds: int = 5, epochs: int = 3,
        full: Literal["none", "tokens", "epochs", "both"] = "none", target_limit: int | None = None,
        target_split: str = "train", allow_overlap: bool = False, drop_overlap: bool = False,
        towards: str | None = None, where: str | None = None, output: str | Path | None = None,
        overwrite: bool = False, settings: Mapping[str, Any] | None = None, dry_run: bool = False,
        format: str = "auto", split: str = "train", source: str | None = None,
        columns: Mapping[str, str] | None = None, roles: Mapping[str, str] | None = None,
        on_error: OnError = "fail", reasoning: Reasoning | None = None,
        template_args: str | None = None, chat_template: str | None = None, mask: Mask | None = None,
        lora: bool = False, max_tokens: str | int | None = None, objective: str | None = None,
        policy: str | None = None, mixture: str | None = None, lr: float | None = None,
        schedule: Schedule | None = None, batch_tokens: int | None = None,
        micro_tokens: int | None = None, max_length: int | None = None,
        train_template: str | None = None, extractor: str | None = None,
        max_new_tokens: int | None = None, threads: int | None = None,
        model_for: Mapping[str, str] | None = None, template: str = "method",
        revision: str | None = None, device: str = "auto", dtype: str = "auto",
        workers: int | None = None, max_failures: str | int = "1%", max_hours: float | None = None,
    ) -> "Proof":  # fmt: skip
        """Test whether training on each method's subset beats random subsets; see `curate.prove`.

        ``train`` may be given beside ``settings``: both are settings by dotted name.
        """
        return made(ProveCommand, locals()).run(self)

    @takes(ReportCommand)
    def report(
        self, output: str | Path, *, selections: Chosen | Sequence[Chosen] = (),
        proof: str | Path | None = None, benchmarks: Texts = (), as_markdown: bool = False,
        overwrite: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Write a self-contained report of the pool, its scores and selections, or of a proof."""
        return made(ReportCommand, locals()).run(self)

    def selection(self, selection_id: str) -> "StoredSelection":
        """Return a stored selection."""
        return StoredSelection(self, self.store.selection(selection_id))

    @takes(ExportCommand)
    def export(
        self, selection: Chosen, output: str | Path, *, trainer: str | None = None,
        validation: str | int | None = None, seed: int = 0, shard_rows: int | None = None,
        lossy: bool = False, push_to_hub: str | None = None, yes: bool = False,
        to: ExportFormat | None = None, order: Literal["rank", "input"] = "rank",
        annotate: bool = False, keep_duplicates: bool = False, overwrite: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Write a selection and its manifest to a file or folder; return what was written where."""
        return made(ExportCommand, locals()).run(self)

    def explain(
        self, example: str, *, scorer: str | None = None, model: str | None = None,
        model_for: Mapping[str, str] | None = None, settings: Mapping[str, Any] | None = None,
        template: str = "method", reasoning: str | None = None,
        template_args: str | None = None, chat_template: str | None = None, mask: str | None = None,
        selections: Sequence[Chosen] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Return everything known about one example; see `curate.select.explain.explain`."""
        return explain(
            self.store, example, scorer=scorer, model=model, model_for=model_for, settings=settings,
            template=template, reasoning=reasoning, template_args=template_args,
            chat_template=chat_template, mask=mask, selections=[*map(id_of, selections)],
        )  # fmt: skip

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
        return Rows(with_message_lists(nearest(self.store, example, k, column)), "neighbours")

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

        return pl.DataFrame(pl.from_arrow(self.store.query(query)))

    def status(self) -> dict[str, Any]:
        """Return what the store holds."""
        return self.store.status()
