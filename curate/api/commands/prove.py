"""`prove`: compare training on what methods select with training on random subsets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

from curate.api.commands.groups import (
    NO_SETTINGS,
    OVERWRITE,
    TRAINING,
    Reading,
    Scoring,
    Training,
    read_texts,
    scoring_options,
    training_settings,
)
from curate.api.commands.ingest import read_aside, read_data
from curate.api.commands.option import option, passed_on
from curate.api.proof import Proof
from curate.contracts.settings import MismatchError
from curate.data.read.given import Data, data_words, paths_of
from curate.data.write.overwriting import has_mark, input_files, refuse_overwriting
from curate.prove.config import ProveConfig, parse_arms
from curate.prove.run import TargetOptions, prove
from curate.registry import own_names
from curate.train.recipes import is_training
from curate.views.report.page import MADE_BY

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.scoring.options import ScoringOptions


def read_arms(value: Any) -> dict[str, Mapping[str, Any]]:
    """Read arms by name: from mappings, or from texts such as ``dft:method=random,objective=dft``."""
    if isinstance(value, Mapping):
        if not all(isinstance(arm, Mapping) for arm in value.values()):
            raise MismatchError("is not a mapping of names to arms, each with its own settings")
        return {str(name): dict(arm) for name, arm in value.items()}
    return dict(parse_arms(read_texts(value)))


@final
@dataclass(frozen=True, kw_only=True)
class ProveCommand(Scoring, Training, Reading):
    """Test whether training on each method's subset beats random subsets, and at what cost."""

    command: ClassVar[str] = "prove"

    data: tuple[Data, ...] = option((), "Datasets to select from; default: the whole pool.", argument=True, read=data_words)  # fmt: skip
    methods: tuple[str, ...] = option((), "Methods to compare, comma-separated; perplexity:which=high sets a field. random and longest are added.", commas=True)  # fmt: skip
    arms: Mapping[str, Mapping[str, Any]] = option(NO_SETTINGS, "Compare a way to train: method (default: random), objective, policy, mixture, and their or the optimiser's settings, as in dft:objective=dft. Repeatable.", flag="--arm", metavar="NAME:KEY=VALUE", read=read_arms)  # fmt: skip
    budget: tuple[str, ...] = option(..., "10%, 10%eligible, 5000, 2Mtok or 10%tok. Repeatable, for a curve.", short="-b", read=read_texts)  # fmt: skip
    target: tuple[str, ...] = option(..., "File or Hugging Face id to evaluate on. Repeatable.")
    model: str = option(..., "Model to train: a folder or a Hugging Face id.", short="-m", takes="model")  # fmt: skip
    seeds: int = option(5, "Runs per method; each draws its own random subset and order. Fewer than 5 give no verdict.")  # fmt: skip
    epochs: int = option(3, "Epochs over the subset, if --max-tokens is not given.", group=TRAINING)  # fmt: skip
    full: Literal["none", "tokens", "epochs", "both"] = option("none", "Also train on the whole pool: for as many tokens or as many epochs as the subsets, or both.")  # fmt: skip
    target_limit: int | None = option(None, "Evaluate on at most N examples of each target, evenly spaced.", metavar="N")  # fmt: skip
    target_split: str = option("train", "Split to read, if a target has several.")
    allow_overlap: bool = option(False, "Accept target examples that are in the pool.")
    drop_overlap: bool = option(False, "Leave out target examples that are in the pool.")
    towards: str | None = option(None, "Target set that methods such as rds-plus select towards (see curate target).", metavar="NAME")  # fmt: skip
    where: str | None = option(None, "Select only from examples for which this expression holds.")
    output: Path | None = option(None, "Write the proof to this page (NAME.md), and NAME.json beside it.", short="-o")  # fmt: skip
    overwrite: bool = option(False, OVERWRITE)
    settings: Mapping[str, Any] = option(NO_SETTINGS, "A field of the method or scorer (see `curate methods NAME`). Repeatable.", flag="--set", metavar="KEY=VALUE", also=("train",))  # fmt: skip
    dry_run: bool = option(False, "Print the plan and its cost; change nothing.", places=("flag", "python"))  # fmt: skip

    def run(self, pool: "Pool", typed: str | None = None) -> Proof:
        """Run the trials that are missing and compare; with ``dry_run`` return the plan.

        ``typed`` is the command line, which the document and its page then say.
        """
        from curate.views.report.proofs.files import check_proof_path, is_proof, write_proof

        self.check_read(self.data)
        if self.output is not None:
            check_proof_path(self.output)
            read = [*input_files(pool.store), *paths_of((*self.data, *self.target))]
            refuse_overwriting(self.output, read, has_mark(MADE_BY), overwrite=self.overwrite)
            beside = self.output.with_suffix(".json")
            refuse_overwriting(beside, read, is_proof, overwrite=self.overwrite)
        training, further = self._settings()
        config = ProveConfig(
            methods=self.methods, budgets=self.budget, settings=further,
            train=training_settings(self, training),
            **passed_on(self, ProveConfig, without=("methods", "settings", "train")),
        )  # fmt: skip
        wanted = TargetOptions(
            self.target, self.target_split, self.target_limit, self.allow_overlap, self.drop_overlap
        )
        config.compared()  # a wrong name fails before anything is read
        scoring = scoring_options(self, self.model, without=("batch_tokens",))
        if self.dry_run:
            document = self._plan(pool, config, wanted, scoring)
        else:
            reports = read_data(pool, self.data, self)
            if reports:
                ids = tuple(dict.fromkeys(report.dataset_id for report in reports))
                config = replace(config, datasets=ids)
            document = prove(pool.store, config, wanted, scoring, pool.progress)
        if typed is not None:
            document["command"] = typed
        if self.output is not None and not self.dry_run:
            page, beside = write_proof(document, self.output)
            document |= {"output": str(page), "document": str(beside)}
        return Proof(document)

    def _plan(
        self, pool: "Pool", config: ProveConfig, wanted: TargetOptions, scoring: "ScoringOptions"
    ) -> dict[str, Any]:
        """Plan the proof; data that the store does not have yet is read aside."""
        if not self.data:
            return prove(pool.store, config, wanted, scoring, pool.progress, dry_run=True)
        with read_aside(pool, self.data, self) as (store, ids):
            there = None if store is pool.store else pool.store
            planned = replace(config, datasets=ids)
            return prove(store, planned, wanted, scoring, pool.progress, dry_run=True, there=there)

    def _settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings of training, and those of methods and scorers."""
        training = {key: value for key, value in self.settings.items() if is_training(key)}
        return training, own_names({k: v for k, v in self.settings.items() if k not in training})
