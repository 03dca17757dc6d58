"""Every command by name, in the order of ``curate --help``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from curate.api.commands.export import ExportCommand
from curate.api.commands.gather import GatherCommand
from curate.api.commands.groups import Shell
from curate.api.commands.import_scores import ImportScoresCommand
from curate.api.commands.ingest import IngestCommand
from curate.api.commands.option import Command, Option, options_of
from curate.api.commands.others import (
    CommitCommand,
    DemoCommand,
    DoctorCommand,
    ExplainCommand,
    ExploreCommand,
    ForgetCommand,
    GcCommand,
    MethodsCommand,
    ReproduceCommand,
    RunCommand,
    SelectionsCommand,
    StatusCommand,
)
from curate.api.commands.prove import ProveCommand
from curate.api.commands.report import ReportCommand
from curate.api.commands.score import ScoreCommand
from curate.api.commands.select import SelectCommand
from curate.api.commands.target import TargetCommand
from curate.api.commands.train import TrainCommand

COMMANDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        cls.command: cls
        for cls in (
            DemoCommand, IngestCommand, TargetCommand, GatherCommand, ScoreCommand, CommitCommand, ImportScoresCommand,
            SelectCommand, ExportCommand, TrainCommand, ProveCommand, ReportCommand, ExploreCommand, StatusCommand, SelectionsCommand,
            MethodsCommand, ExplainCommand, ReproduceCommand, RunCommand, DoctorCommand, GcCommand, ForgetCommand,
        )
    }
)  # fmt: skip

STEPS: Final = ("ingest", "gather", "score", "select", "train", "prove", "export", "report")

# What of the shell's options a command has no use for.
_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {
    "demo": ("store",), "methods": ("store", "quiet", "verbose"), "doctor": ("quiet",),
    "explain": ("quiet",), "run": ("store",), "reproduce": ("store",),
}  # fmt: skip


def flags_of(cls: type[Command]) -> tuple[Option, ...]:
    """Return everything a command takes on the command line, the shell's options last."""
    without = _WITHOUT.get(cls.command, ())
    own = [option for option in options_of(cls) if "flag" in option.declared.places]
    return (*own, *(option for option in options_of(Shell) if option.name not in without))
