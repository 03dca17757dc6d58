"""What a proof will train and what that costs, reported before anything is trained."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast, final

from curate.contracts import Budget, Rendering
from curate.contracts.json_values import json_tree
from curate.errors import ConfigError
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.prove.config import FULL_EPOCHS, RANDOM, Arm, ProveConfig
from curate.prove.identity import common_identity, method_identity
from curate.prove.trials import arrays_path
from curate.select.options import SelectOptions
from curate.store.records import canonical_json, digest
from curate.train.config import LengthConfig, TrainConfig
from curate.train.data import TrainRow, prepare, sample_rows
from curate.train.recipes import build_config

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel
    from curate.prove.targets import Target
    from curate.scoring.options import ScoringOptions
    from curate.store import Store

SAMPLE: Final = 1_000  # examples of the pool whose tokens are counted
SAVE_EVERY: Final = 50
MEASURED_STEPS: Final = 2
BACKWARD: Final = 3  # a training token costs about as much as three forward ones


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One training run of a proof: its data, its seed, and the hash of everything that determines it."""

    trial_id: str
    arm: Arm
    budget: str
    seed: int
    config: TrainConfig
    identity: Mapping[str, Any]

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens the run trains."""
        assert self.config.length.max_tokens is not None
        return self.config.length.max_tokens


@final
@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of the pool as training sees it: examples, how many can be chosen, and the mean of a sample."""

    n_examples: int
    n_eligible: int
    mean_tokens: float

    def selected(self, budget: str) -> float:
        """Return roughly how many examples a budget is."""
        parsed = Budget.parse(budget)
        if parsed.unit == "examples":
            return float(parsed.amount)
        if parsed.unit == "tokens":
            return parsed.amount / self.mean_tokens
        return parsed.amount * self.n_examples


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """All trials of a proof, those already in the store, and what the others will cost.

    Parameters
    ----------
    trials
        Seed by seed, so that every method has the same seeds if a proof is stopped early.
    done
        Ids of the trials that need no training.
    eval_tokens
        Tokens of one evaluation, all targets together.
    seconds_per_unit
        Seconds per token of a forward pass; None if nothing was measured. ``basis`` says how it is
        known.
    """

    trials: tuple[Trial, ...]
    done: frozenset[str]
    eval_tokens: int
    seconds_per_unit: float | None
    basis: str

    @property
    def missing(self) -> tuple[Trial, ...]:
        """Trials to run, each once: two arms that come to the same run share it."""
        first = {trial.trial_id: trial for trial in reversed(self.trials)}
        return tuple(
            trial
            for trial in self.trials
            if trial.trial_id not in self.done and first[trial.trial_id] is trial
        )

    @property
    def n_trials(self) -> int:
        """Number of trials, those in the store included; a run that arms share counts once."""
        return len({trial.trial_id for trial in self.trials})

    @property
    def tokens(self) -> int:
        """Tokens to train on."""
        return sum(trial.max_tokens for trial in self.missing)

    @property
    def seconds(self) -> float | None:
        """Estimated time of the training still to do; generation and scoring come on top."""
        if self.seconds_per_unit is None:
            return None if self.missing else 0.0
        units = BACKWARD * self.tokens + self.eval_tokens * len(self.missing)
        return units * self.seconds_per_unit

    def as_dict(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "n_trials": self.n_trials, "n_done": self.n_trials - len(self.missing),
            "n_missing": len(self.missing), "tokens": self.tokens,
            "eval_tokens": self.eval_tokens * len(self.missing),
            "max_tokens": {trial.budget: trial.max_tokens for trial in reversed(self.trials)
                           if trial.arm.label != FULL_EPOCHS},
            "batch_tokens": {t.budget: t.config.data.batch_tokens for t in self.trials},
            "seconds": self.seconds, "basis": self.basis,
            "trials": [
                {"trial_id": t.trial_id, "method": t.arm.label, "budget": t.budget,
                 "seed": t.seed, "max_tokens": t.max_tokens, "done": t.trial_id in self.done}
                for t in self.trials
            ],
        }  # fmt: skip

    def text(self) -> str:
        """Describe the plan in a few lines."""
        arms = list(dict.fromkeys(trial.arm.label for trial in self.trials))
        budgets = list(dict.fromkeys(trial.budget for trial in self.trials))
        seeds = len({trial.seed for trial in self.trials})
        n_done = self.n_trials - len(self.missing)
        lines = [
            f"{self.n_trials} trials: {len(arms)} arms ({', '.join(arms)}), {seeds} seeds, budget "
            + f"{', '.join(budgets)}; {n_done} are already in the store",
            f"{self.tokens:,} tokens to train on, {self.eval_tokens:,} to evaluate on after each "
            + "trial, plus any missing scores",
        ]
        if self.seconds is None:
            lines.append("no time estimate: nothing was measured")
        elif self.missing:
            lines.append(f"about {self.seconds:,.0f} s of training ({self.basis})")
        return "\n".join(lines)


def make_plan(
    store: "Store",
    config: ProveConfig,
    scoring: "ScoringOptions",
    targets: Sequence["Target"],
    *,
    measure: bool = True,
    there: "Store | None" = None,
) -> Plan:
    """Plan the trials of a proof; with ``measure``, time two training steps if none is on record.

    ``there`` is as in `curate.prove.run.prove`.

    Raises `ConfigError` for no target model, a method that does not exist, a wrong setting, and a
    budget of fewer tokens than one batch.
    """
    if "target" not in scoring.models:
        raise ConfigError("a proof trains a model; pass --model MODEL (a folder or a hub id)")
    arms = config.compared()
    chat = _config(config, scoring, arms[0]).data.chat
    resolved = resolve_model(scoring.models["target"], revision=scoring.revision, chat=chat)
    base = _base(config, scoring, resolved, arms[0])
    renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length, resolved.chat)
    data = base.data
    rendering = data.rendering
    sample = sample_rows(store, config.datasets, SAMPLE)
    prepared = prepare(sample, renderer, rendering, "pool")
    sizes = Sizes(
        store.n_examples(config.datasets),
        _n_eligible(store, config, scoring),
        float(prepared.lengths.mean()),
    )
    common = common_identity(store, config, targets, resolved, base)
    scores = {
        arm.label: method_identity(store, there or store, arm, scoring, config) for arm in arms
    }
    if config.towards is not None and not any(
        "towards" in identity for identity in scores.values()
    ):
        raise ConfigError(
            f"no method here selects towards a target set; leave out --towards {config.towards}, or "
            "add one that does, such as rds-plus"
        )
    bases = {arm.label: _base(config, scoring, resolved, arm) for arm in arms}
    trials = tuple(
        _trial(
            arm, budget, seed, bases[arm.label], config, sizes, {**common, "arm": scores[arm.label]}
        )
        for budget in config.budgets
        for seed in range(config.seeds)
        for arm in arms
    )
    done = finished(store, [trial.trial_id for trial in trials])
    eval_tokens = sum(_tokens(target, renderer, rendering) for target in targets)
    speed, basis = _known_speed(there or store, resolved.fingerprint)
    if speed is None and measure and any(trial.trial_id not in done for trial in trials):
        speed, basis = _measured_speed(trials[0].config, sample)
    return Plan(trials, done, eval_tokens, speed, basis)


def finished(store: "Store", trial_ids: Sequence[str]) -> frozenset[str]:
    """Return which trials are in the store, with the arrays of their evaluations."""
    known = set(store.read("select trial_id from trials").column("trial_id").to_pylist())
    return frozenset(i for i in trial_ids if i in known and arrays_path(store, i).is_file())


def _config(config: ProveConfig, scoring: "ScoringOptions", arm: Arm) -> TrainConfig:
    """Return how an arm trains, before its model is known."""
    training = config.training(arm)
    settings = {"compute.device": scoring.device, "compute.dtype": scoring.dtype, **training}
    name = scoring.models["target"]
    return build_config(name, settings, revision=scoring.revision, lora=config.lora)


def _base(
    config: ProveConfig, scoring: "ScoringOptions", resolved: "ResolvedModel", arm: Arm
) -> TrainConfig:
    made = _config(config, scoring, arm)
    made = made.resolved(has_chat_template=resolved.chat_template_hash is not None)
    return replace(made, watch=replace(made.watch, save_every=made.watch.save_every or SAVE_EVERY))


def _trial(
    arm: Arm,
    budget: str,
    seed: int,
    base: TrainConfig,
    config: ProveConfig,
    sizes: Sizes,
    identity: Mapping[str, Any],
) -> Trial:
    own = sizes.selected(budget) * sizes.mean_tokens
    tokens = config.max_tokens or round(config.epochs * own)
    batch = base.data.batch_tokens
    if "data.batch_tokens" not in config.train:
        batch = max(1, min(batch, tokens // 50, int(own) // 4))
    if batch > min(tokens, own):
        raise ConfigError(
            f"budget {budget} is about {own:.0f} tokens and a run trains {tokens}, less than one "
            f"batch of {batch}; set --batch-tokens to {int(min(tokens, own) // 4)} or less, or give "
            "a larger budget"
        )
    if arm.label == FULL_EPOCHS:
        tokens = round(tokens * sizes.n_eligible / sizes.selected(budget))
    made = replace(
        base,
        seed=seed,
        data=replace(base.data, batch_tokens=batch),
        length=LengthConfig(max_tokens=tokens),
    )
    full = {**identity, "budget": str(Budget.parse(budget)), "recipe": made.identity()}
    full = cast(dict[str, Any], json_tree(full))
    return Trial(digest(canonical_json(full), 8), arm, budget, seed, made, full)


def _n_eligible(store: "Store", config: ProveConfig, scoring: "ScoringOptions") -> int:
    """Return how many examples of the pool may be chosen, which full-epochs trains on; at least 1."""
    from curate.select.budgets import eligible

    if config.where is None or config.full not in ("epochs", "both"):
        return store.n_examples(config.datasets)
    options = SelectOptions(RANDOM, where=config.where, datasets=config.datasets)
    return max(1, len(eligible(store, options, scoring)))


def _tokens(target: "Target", renderer: "Renderer", rendering: Rendering) -> int:
    return int(prepare(target.rows, renderer, rendering, target.name).lengths.sum())


def _known_speed(store: "Store", fingerprint: str) -> tuple[float | None, str]:
    """Return seconds per forward token of the newest trial with this model."""
    rows = store.read("select manifest from trials order by created_at desc limit 50").to_pylist()
    for row in rows:
        manifest = json.loads(row["manifest"])
        if manifest.get("identity", {}).get("model", [None])[0] == fingerprint:
            cost = manifest["record"]["cost"]
            units = BACKWARD * cost["tokens"] + cost["other_tokens"]
            if units:
                return cost["seconds"] / units, f"as trial {manifest['trial_id']} took"
    return None, "nothing was measured"


def _measured_speed(config: TrainConfig, rows: Sequence[TrainRow]) -> tuple[float | None, str]:
    """Train two steps in a temporary folder; return seconds per forward token."""
    from curate.train.api import train

    short = replace(config, length=LengthConfig(max_steps=MEASURED_STEPS))
    with tempfile.TemporaryDirectory() as folder:
        cost = train(short, rows, f"{folder}/run").cost
    units = BACKWARD * cost.tokens + cost.other_tokens
    return cost.seconds / units, f"measured on {MEASURED_STEPS} steps"
