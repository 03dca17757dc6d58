"""Commands that are not steps of a recipe: they look at a store, tidy it, or work without one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from curate.api.commands.groups import NO_SETTINGS, OVERWRITE, WORKERS
from curate.api.commands.option import option
from curate.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Run everything offline, on a generated pool with planted errors and a tiny model."""

    command: ClassVar[str] = "demo"

    folder: Path = option(Path("curate-demo"), "Folder for the pool, the store and the subsets.", flag="--dir")  # fmt: skip
    everything: bool = option(
        False, "Prove every method the demo has a model for, slow ones too.", flag="--all"
    )
    seed: int = option(0, "Seed for every random choice.")


@final
@dataclass(frozen=True, kw_only=True)
class ExploreCommand:
    """Explore the pool, its scores and selections in your browser, and mark examples."""

    command: ClassVar[str] = "explore"

    port: int = option(0, "Local port to serve on. Default: any free port.")
    browser: bool = option(True, "Open the page in a browser.", flag="--browser/--no-browser")
    atlas: bool = option(
        False, "Show the pool in embedding-atlas instead, where that is installed."
    )
    marker: str | None = option(None, "Whose marks, labels and notes to store, in selections such as marked-in-NAME. Default: your login name.", metavar="NAME")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class StatusCommand:
    """Show what the store holds: datasets, score sets, selections, sizes."""

    command: ClassVar[str] = "status"

    watch: bool = option(False, "Show how far scoring is, every two seconds until Ctrl-C; with --json one line each time.")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class CommitCommand:
    """Take the scores of slices and stopped runs into the store, and say which are missing."""

    command: ClassVar[str] = "commit"

    parts: str | None = option(None, "The URL below which slices on other machines have left theirs.", metavar="URL")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class SelectionsCommand:
    """List, rename or delete selections."""

    command: ClassVar[str] = "selections"

    action: Literal["list", "rename", "delete"] = option("list", "list, rename SELECTION NEW, or delete SELECTION.", argument=True)  # fmt: skip
    selection: str | None = option(None, "Its id, the beginning of its id, its name, or latest or latest:METHOD.", argument=True)  # fmt: skip
    name: str | None = option(None, "The new name.", argument=True)
    everything: bool = option(False, "List those of proofs and the parts of others, too.", flag="--all")  # fmt: skip
    yes: bool = option(False, "Delete without asking.", short="-y")

    def check(self) -> None:
        """Raise `ConfigError` for words that do not fit the action."""
        words = [word for word in (self.selection, self.name) if word is not None]
        wanted = {"list": (), "rename": ("SELECTION", "NEW"), "delete": ("SELECTION",)}[self.action]
        if len(words) != len(wanted):
            usage = " ".join(("curate selections", self.action, *wanted))
            raise ConfigError(f"{self.action} got {' '.join(words) or 'nothing'}; type: {usage}")


@final
@dataclass(frozen=True, kw_only=True)
class MethodsCommand:
    """List scorers, selection methods and ways to train, or describe one with its fields and paper."""

    command: ClassVar[str] = "methods"

    name: str | None = option(None, "What to describe.", argument=True)


@final
@dataclass(frozen=True, kw_only=True)
class ExplainCommand:
    """Show one example: its text, scores and selections, and exactly what a scorer's pass sees."""

    command: ClassVar[str] = "explain"

    example: str = option(..., "An example id, a unique prefix of one, or an external id.", argument=True)  # fmt: skip
    model: str | None = option(None, "Target model: a folder or a Hugging Face id.", short="-m")
    model_for: Mapping[str, str] = option(NO_SETTINGS, "Model for another role: proxy, encoder, reward, nli, judge, reference. Repeatable.", metavar="ROLE=MODEL")  # fmt: skip
    scorer: str | None = option(None, "Show how this scorer renders the example.")
    settings: Mapping[str, Any] = option(NO_SETTINGS, "A field of the method or scorer (see `curate methods NAME`). Repeatable.", flag="--set", metavar="KEY=VALUE")  # fmt: skip
    template: str = option("method", "method: each paper's own template. chat or plain: one template for all, in one pass. trl: chat, with TRL's training template.")  # fmt: skip
    reasoning: str | None = option(None, "Reasoning the chat template does not write: inline (in think tags before the content), drop, or fail (those examples).")  # fmt: skip
    template_args: str | None = option(None, "Arguments for the chat template, as in enable_thinking=false.", metavar="KEY=VALUE,...")  # fmt: skip
    chat_template: str | None = option(None, "Chat template (a Jinja file) to use instead of the model's own.", metavar="FILE")  # fmt: skip
    mask: str | None = option(None, "Whose rule says which tokens of a chat template count: curate, trl or llama-factory. Default: curate.")  # fmt: skip
    selections: tuple[str, ...] = option((), "Say why this selection does not include it. Repeatable. Default: all.", flag="--selection")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class ReproduceCommand:
    """Reproduce an exported subset from its manifest and compare it byte for byte."""

    command: ClassVar[str] = "reproduce"

    manifest: Path = option(..., "The *.manifest.json beside an export.", argument=True)
    store: Path | None = option(None, "The store; default: the one the manifest names.")
    output: Path | None = option(None, "Write the reproduced rows to this file.", short="-o")
    overwrite: bool = option(False, OVERWRITE)
    rescore: bool = option(False, "Recompute the scores and list the examples that flipped.")
    workers: int | None = option(None, WORKERS, short="-w")  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """Run a recipe: the steps of a whole experiment from one YAML file."""

    command: ClassVar[str] = "run"

    recipe: Path | None = option(None, "A YAML file: steps, or the sections pool, models, score, select, train, prove, export, report.", argument=True)  # fmt: skip
    settings: Mapping[str, str] = option(NO_SETTINGS, "A key of the recipe, as in select.budget=20%. Repeatable.", flag="--set", metavar="KEY=VALUE")  # fmt: skip
    store: Path | None = option(None, "Use this store instead of the recipe's.")
    example: str | None = option(None, "Run an example that comes with curate, in this folder; with -o write it to a file instead.", metavar="NAME")  # fmt: skip
    list_examples: bool = option(False, "List the examples.")
    output: Path | None = option(None, "Write the example there, to read and change, and run nothing.", short="-o")  # fmt: skip
    dry_run: bool = option(False, "Print the recipe with every default filled in; change nothing.")


@final
@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Check the installation and the store; report what is wrong and how to fix it."""

    command: ClassVar[str] = "doctor"

    rebuild: bool = option(False, "Rebuild the DuckDB file from the parts beside it.")
    deep: bool = option(False, "Read every file of the store and compare it with its hash.")


@final
@dataclass(frozen=True, kw_only=True)
class GcCommand:
    """Remove what nothing refers to: unfinished work, old caches, orphaned parts."""

    command: ClassVar[str] = "gc"

    dry_run: bool = option(False, "Print the plan and its cost; change nothing.")


@final
@dataclass(frozen=True, kw_only=True)
class ForgetCommand:
    """Delete examples from the pool for good: texts, raw rows and scores."""

    command: ClassVar[str] = "forget"

    where: str = option(..., "Expression that picks the examples, as in \"source = 'leaked'\".")
    yes: bool = option(False, "Delete without asking.", short="-y")
    dry_run: bool = option(False, "Print the plan and its cost; change nothing.")
