"""Every command by name, in the order of ``curate --help``."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, final

# Where each stands, and what it does; importing them all takes longer than many a command.
_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "demo": ("others.DemoCommand", "Run everything offline, on a generated pool with planted errors and a tiny model."),
    "ingest": ("ingest.IngestCommand", "Read datasets into the pool: files, globs, folders or Hugging Face ids."),
    "target": ("target.TargetCommand", "Add, list or remove target sets: examples to select towards, which never enter the pool."),
    "gather": ("gather.GatherCommand", "Ask several models for responses to the pool's prompts, check them, and add them to the pool."),
    "score": ("score.ScoreCommand", "Score every example in the pool once; resume where an earlier run stopped."),
    "commit": ("others.CommitCommand", "Take the scores of slices and stopped runs into the store, and say which are missing."),
    "import-scores": ("import_scores.ImportScoresCommand", "Import scores made elsewhere, as columns for --where, --rank, plots and reports."),
    "select": ("select.SelectCommand", "Select a subset with any method; given DATA and -o, ingests, scores, selects and exports."),
    "export": ("export.ExportCommand", "Write a selection to a file or folder, with its manifest beside it."),
    "train": ("train.TrainCommand", "Fine-tune a model on a selection or a file; rerun the same command to resume."),
    "prove": ("prove.ProveCommand", "Test whether training on each method's subset beats random subsets, and at what cost."),
    "report": ("report.ReportCommand", "Write a self-contained report of the pool, its scores and selections, or of a proof."),
    "explore": ("others.ExploreCommand", "Explore the pool, its scores and selections in your browser, and mark examples."),
    "status": ("others.StatusCommand", "Show what the store holds: datasets, score sets, selections, sizes."),
    "selections": ("others.SelectionsCommand", "List, rename or delete selections."),
    "methods": ("others.MethodsCommand", "List scorers, selection methods and ways to train, or describe one with its fields and paper."),
    "explain": ("others.ExplainCommand", "Show one example: its text, scores and selections, and exactly what a scorer's pass sees."),
    "reproduce": ("others.ReproduceCommand", "Reproduce an exported subset from its manifest and compare it byte for byte."),
    "run": ("others.RunCommand", "Run a recipe: the steps of a whole experiment from one YAML file."),
    "doctor": ("others.DoctorCommand", "Check the installation and the store; report what is wrong and how to fix it."),
    "gc": ("others.GcCommand", "Remove what nothing refers to: unfinished work, old caches, orphaned parts."),
    "forget": ("others.ForgetCommand", "Delete examples from the pool for good: texts, raw rows and scores."),
}  # fmt: skip


@final
class _Commands(Mapping[str, type[Any]]):
    """The class that declares each command, imported when it is asked for."""

    def __getitem__(self, name: str) -> type[Any]:
        module, _, cls = _COMMANDS[name][0].partition(".")
        return getattr(import_module(f"curate.api.commands.{module}"), cls)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


COMMANDS: Final[Mapping[str, type[Any]]] = _Commands()
SUMMARIES: Final[Mapping[str, str]] = MappingProxyType(
    {name: summary for name, (_, summary) in _COMMANDS.items()}
)

STEPS: Final = ("ingest", "gather", "score", "select", "train", "prove", "export", "report")
