"""Training configurations from settings by dotted name, shared by commands, scorers and proofs."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from curate.contracts import RunRecipe
from curate.contracts.settings import read_value
from curate.errors import ConfigError, did_you_mean
from curate.train.config import (
    ComputeConfig,
    DataConfig,
    LengthConfig,
    LoraConfig,
    MethodConfig,
    OptimiserConfig,
    TrainConfig,
    WatchConfig,
)

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

    Values may be text. A setting of ``lora`` trains an adapter, as ``lora`` does. Raises `ConfigError` for a name that
    does not exist, with the nearest one, and for a value that is not allowed.
    """
    groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
    known = [f"{group}.{item.name}" for group, cls in GROUPS.items() for item in fields(cls)]
    for key, value in settings.items():
        if key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(f"training has no setting {key!r}{hint}; known: {', '.join(known)}")
        group, _, name = key.partition(".")
        groups[group][name] = read_value(GROUPS[group], name, value, f"--set {key}")
    adapter = LoraConfig(**groups["lora"]) if lora or groups["lora"] else None
    return TrainConfig(
        model=model,
        revision=revision,
        seed=seed,
        data=DataConfig(**groups["data"]),
        length=LengthConfig(**groups["length"]),
        optimiser=OptimiserConfig(**groups["optimiser"]),
        method=MethodConfig(lora=adapter),
        compute=ComputeConfig(**groups["compute"]),
        watch=WatchConfig(**groups["watch"]),
    )


def config_of(recipe: RunRecipe, model: str, template: str, **compute: Any) -> TrainConfig:
    """Make the configuration of a recorded run; ``compute``: fields of `ComputeConfig`."""
    settings = {
        "data.template": template,
        **recipe.settings,
        **{f"compute.{name}": value for name, value in compute.items()},
    }
    return build_config(model, settings, seed=recipe.seed)
