"""What to prove: which methods, at which budgets, on which target, with how many seeds and tokens."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, final

from curate.contracts import Budget
from curate.contracts.settings import refuse_unused
from curate.errors import ConfigError, did_you_mean
from curate.train.config import SEAMS
from curate.train.recipes import build_config, is_set

RANDOM: Final = "random"
LONGEST: Final = "longest"
FULL: Final = "full"
FULL_EPOCHS: Final = "full-epochs"
BASELINES: Final = (RANDOM, LONGEST)

Full = Literal["none", "tokens", "epochs", "both"]
FULL_CHOICES: Final = ("none", "tokens", "epochs", "both")

RESERVED: Final = (RANDOM, LONGEST, FULL, FULL_EPOCHS)
_ARM_GROUPS: Final = (*SEAMS, "optimiser")  # how to train; the rest is the same for every arm
_ARM_COMMA: Final = re.compile(r",(?=\s*[\w.-]+\s*=)")
_LENGTHS: Final = ("length.epochs", "length.max_steps", "length.max_tokens")


@final
@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that is compared: what is trained on, a method's picks or the whole pool, and how.

    ``label`` is what the user typed; ``method`` is None for the whole pool. ``train`` are the
    settings of training in which it differs from the rest of the proof.
    """

    label: str
    method: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class ProveConfig:
    """One proof. Twelve fields, because a proof joins selection, training and evaluation.

    Parameters
    ----------
    methods
        As given to ``--methods``: ``ifd``, ``perplexity:which=high``, ``ifd | longest``. Random
        is always added, and longest unless only ``arms`` are given.
    budgets
        One budget, or several for a curve.
    seeds
        Runs of each method: every seed draws its own random subset and training order.
    max_tokens
        Tokens trained in each run, the same for all runs of a budget; None: ``epochs`` of the budget.
    epochs
        Used when ``max_tokens`` is not given.
    full
        Whether to train on the whole pool as well: for the same ``tokens``, for the same number of
        ``epochs`` the subsets get, ``both`` or ``none``.
    train
        Settings of `TrainConfig` by dotted name, except its length.
    lora
        Whether to train an adapter.
    settings
        ``--set`` of the methods and scorers.
    where
        Select only from examples for which this holds; shares remain shares of the whole pool.
    arms
        By name, further arms as mappings: ``method`` (random where it is left out) and settings of
        training, as in ``{"objective": "dft", "policy.k": 2}``. Arms of one method and budget train
        on the same subset at each seed.
    datasets
        Ids of the datasets that are the pool; None for the whole store.
    towards
        Target set that methods such as rds-plus select towards; trials are not evaluated on it.
    """

    methods: tuple[str, ...]
    budgets: tuple[str, ...]
    seeds: int = 5
    max_tokens: int | None = None
    epochs: int = 3
    full: Full = "none"
    train: Mapping[str, Any] = field(default_factory=dict)
    lora: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: tuple[str, ...] | None = None
    towards: str | None = None

    def __post_init__(self) -> None:
        for name in ("seeds", "epochs", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value!r}")
        if not self.budgets:
            raise ConfigError("a proof needs a budget; add --budget 10%, 5000 or 2Mtok")
        for budget in self.budgets:
            Budget.parse(budget)
        if self.full not in FULL_CHOICES:
            raise ConfigError(f"--full is one of {', '.join(FULL_CHOICES)}, got {self.full!r}")
        for name in self.settings:
            if "." not in name:
                raise ConfigError(
                    f"--set {name}: say which method or scorer it belongs to; write "
                    f"NAME.{name}=VALUE, or --methods NAME:{name}=VALUE"
                )
        for name in _LENGTHS:
            if name in self.train:
                raise ConfigError(
                    f"{name} is the same for every run of a proof; set --max-tokens or --epochs"
                )
        if is_set(self.train, "watch.patience"):
            raise ConfigError(
                "watch.patience would choose the weights of each run by the target that they are judged on; "
                "leave it out: every run of a proof trains on as many tokens"
            )

    def compared(self) -> tuple[Arm, ...]:
        """Return what is compared, random first, then the methods, the arms, longest, the whole pool.

        Raises `ConfigError` for a method, objective, policy or mixture that does not exist, a wrong
        setting, or a name given twice.
        """
        build_config("", self.train, lora=self.lora)  # a wrong name or value fails at once
        methods = [parse_method(text, self.settings) for text in self.methods]
        methods += [self._arm(name, given) for name, given in self.arms.items()]
        labels = [arm.label for arm in methods]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"method {label!r} is given {labels.count(label)} times")
        own = [arm for arm in methods if arm.label not in BASELINES]
        baselines = [Arm(name, name, self.settings) for name in BASELINES]
        longest = baselines[1:] if self.methods or not self.arms else []
        chosen = self._with_own_settings([baselines[0], *own, *longest])
        wanted: Mapping[str, Sequence[str]] = {
            "none": (), "tokens": (FULL,), "epochs": (FULL_EPOCHS,), "both": (FULL, FULL_EPOCHS),
        }  # fmt: skip
        full = [Arm(name, None) for name in wanted[self.full]]
        return (*chosen, *full)

    def training(self, arm: Arm) -> dict[str, Any]:
        """Return the settings of training of an arm, by dotted name.

        An arm that names another objective, policy or mixture does not get the settings the rest of
        the proof has for its own.
        """
        replaced = [
            kind
            for kind in SEAMS
            if arm.train.get(kind, self.train.get(kind)) != self.train.get(kind)
        ]
        common = {
            key: value for key, value in self.train.items() if key.partition(".")[0] not in replaced
        }
        return {**common, **arm.train}

    def _arm(self, name: str, given: Mapping[str, Any]) -> Arm:
        if name in RESERVED or not name.strip():
            raise ConfigError(
                f"{name!r} cannot be the name of an arm; give it another than {', '.join(RESERVED)}"
            )
        chosen = parse_method(str(given.get("method", RANDOM)), self.settings)
        train = {key: value for key, value in given.items() if key != "method"}
        for key in train:
            if key.partition(".")[0] not in _ARM_GROUPS:
                known = ("method", *_ARM_GROUPS)
                raise ConfigError(
                    f"arm {name!r} has no setting {key!r}{did_you_mean(key, known)}; an arm takes "
                    f"{', '.join(known)} and their fields, as in {name}:method=random,objective=dft"
                )
        arm = replace(chosen, label=name, train=train)
        build_config("", self.training(arm))  # a wrong name or value fails at once
        return arm

    def _with_own_settings(self, arms: Sequence[Arm]) -> list[Arm]:
        """Give each arm the settings it uses; a setting that no arm uses is an error."""
        from curate.select.run import build_method, setting_owners

        own, everyone = [], set[str]()
        for arm in arms:
            assert arm.method is not None
            owners = setting_owners(build_method(arm.method, arm.settings))
            everyone.update(owners)
            used = {
                key: value
                for key, value in arm.settings.items()
                if "." not in key or key.partition(".")[0] in owners
            }
            own.append(replace(arm, settings=used))
        refuse_unused(self.settings, sorted(everyone))
        return own


def parse_arms(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Read arms such as ``dft:method=random,objective=dft,policy.k=2``: settings by name.

    A comma belongs to a value unless a word and ``=`` come after it. Raises `ConfigError` for a text
    of another form and for a name given twice.
    """
    arms: dict[str, dict[str, str]] = {}
    for text in texts:
        name, separator, rest = (part.strip() for part in text.partition(":"))
        items = [item.partition("=") for item in _ARM_COMMA.split(rest)]
        if not (name and separator and all(key.strip() and equals for key, equals, _ in items)):
            raise ConfigError(
                f"cannot read arm {text!r}; write NAME:KEY=VALUE,KEY=VALUE, as in "
                "dft:method=random,objective=dft"
            )
        if name in arms:
            raise ConfigError(f"two arms are called {name!r}; rename one of them")
        arms[name] = {key.strip(): value.strip() for key, _, value in items}
    return arms


def parse_method(text: str, settings: Mapping[str, str]) -> Arm:
    """Read ``name`` or ``name:field=value:field=value``; the fields win over ``--set``."""
    name, *given = (part.strip() for part in text.split(":"))
    if not name:
        raise ConfigError(f"cannot read method {text!r}; write --methods ifd,perplexity:which=high")
    own: dict[str, str] = {}
    for item in given:
        key, separator, value = item.partition("=")
        if not separator:
            raise ConfigError(f"cannot read {item!r} in method {text!r}; write {name}:FIELD=VALUE")
        own[key.strip()] = value.strip()
    label = ":".join([name, *given])
    if "|" in name:
        return Arm(label, name, own)
    return Arm(label, name, {**settings, **{f"{name}.{key}": v for key, v in own.items()}})
