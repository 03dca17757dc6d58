"""Training configurations from settings by dotted name, shared by commands, scorers and proofs."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from curate import registry
from curate.contracts import RunRecipe
from curate.contracts.settings import build, read_value
from curate.errors import ConfigError, did_you_mean
from curate.train.config import (
    SEAMS,
    ComputeConfig,
    LengthConfig,
    LoraConfig,
    MethodConfig,
    OptimiserConfig,
    TrainConfig,
    WatchConfig,
)
from curate.train.data_config import DataConfig

GROUPS: Final[Mapping[str, type]] = {
    "data": DataConfig, "length": LengthConfig, "optimiser": OptimiserConfig,
    "compute": ComputeConfig, "watch": WatchConfig, "lora": LoraConfig,
}  # fmt: skip


def build_config(
    model: str,
    settings: Mapping[str, Any],
    *,
    revision: str | None = None,
    seed: int = 0,
    lora: bool = False,
) -> TrainConfig:
    """Make a configuration from settings such as ``{"optimiser.lr": 1e-4}``; the rest are defaults.

    ``objective``, ``policy`` and ``mixture`` take a registered name, and ``policy.k`` a field of
    the policy that is chosen. Values may be text. A setting of ``lora`` trains an adapter, as
    ``lora`` does. Raises `ConfigError` for a name that does not exist, with the nearest one, for a
    setting of an objective, policy or mixture that is not chosen, and for a value that is not
    allowed.
    """
    groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
    chosen = {kind: settings.get(kind) for kind in SEAMS}
    own: dict[registry.Kind, dict[str, Any]] = {kind: {} for kind in SEAMS}
    for key, value in settings.items():
        group, _, name = key.partition(".")
        if group in SEAMS:
            own[group] |= {name: value} if name else {}
        elif group in GROUPS and name in {item.name for item in fields(GROUPS[group])}:
            groups[group][name] = read_value(GROUPS[group], name, value, f"--set {key}")
        else:
            raise ConfigError(_unknown(key))
    adapter = LoraConfig(**groups["lora"]) if lora or groups["lora"] else None
    return TrainConfig(
        model=model,
        revision=revision,
        seed=seed,
        data=DataConfig(**groups["data"]),
        length=LengthConfig(**groups["length"]),
        optimiser=OptimiserConfig(**groups["optimiser"]),
        method=MethodConfig(lora=adapter, **_seams(chosen, own)),
        compute=ComputeConfig(**groups["compute"]),
        watch=WatchConfig(**groups["watch"]),
    )


def is_training(key: str) -> bool:
    """Whether a setting such as ``optimiser.lr`` or ``policy.k`` is one of training, by its first word.

    ``length`` is a scorer, too, whose fields are not those of a run's length.
    """
    group, _, name = key.partition(".")
    if group in GROUPS and group in registry.names("scorer"):
        return name in {item.name for item in fields(GROUPS[group])}
    return group in (*GROUPS, *SEAMS)


def is_set(settings: Mapping[str, Any], key: str) -> bool:
    """Whether a setting is given, and not as None or the ``none`` that stands for it."""
    return str(settings.get(key)).strip().lower() not in ("none", "null", "")


def _seams(
    chosen: Mapping[registry.Kind, Any], settings: Mapping[registry.Kind, Mapping[str, Any]]
) -> dict[str, Any]:
    """Make the objective, policy and mixture that were chosen or configured; the rest are defaults."""
    made: dict[str, Any] = {}
    for kind in SEAMS:
        if chosen[kind] is None and not settings[kind]:
            continue
        name = str(chosen[kind] or getattr(MethodConfig(), kind).name)
        cls: type = registry.get(kind, name)
        for key in settings[kind]:
            if key not in _field_names(cls) and (owners := _owners(kind, key)):
                raise ConfigError(
                    f"{kind}.{key} is a setting of {' and '.join(owners)}, but the {kind} is "
                    f"{name}; pass --{kind} {owners[0]}, or leave {kind}.{key} out"
                )
        made[kind] = build(cls, settings[kind], flag=kind)
    return made


def _owners(kind: registry.Kind, key: str) -> list[str]:
    """Return which registered objectives, policies or mixtures have a field."""
    return [name for name in registry.names(kind) if key in _field_names(registry.get(kind, name))]


def _field_names(cls: type) -> list[str]:
    return [item.name for item in registry.describe_fields(cls)]


def _unknown(key: str) -> str:
    known = [f"{group}.{item.name}" for group, cls in GROUPS.items() for item in fields(cls)]
    for kind in SEAMS:
        own = {
            name
            for registered in registry.names(kind)
            for name in _field_names(registry.get(kind, registered))
        }
        known += [kind, *(f"{kind}.{name}" for name in sorted(own))]
    hint = did_you_mean(key, known)
    return f"training has no setting {key!r}{hint}; known: {', '.join(known)}"


def config_of(
    recipe: RunRecipe, model: str, template: str, further: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Make the configuration of a recorded run; ``further``: settings by dotted name."""
    settings = {
        "data.template": template,
        **recipe.settings,
        **(further or {}),
    }
    return build_config(model, settings, seed=recipe.seed)
