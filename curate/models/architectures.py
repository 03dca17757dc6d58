"""Model architectures: those that only we have, and the module of one that transformers has."""

import json
from pathlib import Path
from typing import Any, Final

GPT_NEOX_REWARD: Final = "gpt_neox_reward_model"


def register_architecture(folder: Path) -> None:
    """Register the architecture of a model folder with transformers, if only we have it.

    Currently one: the GPT-NeoX reward models of Open-Assistant.
    """
    if _model_type(folder) == GPT_NEOX_REWARD:
        import curate.models.classifiers.gpt_neox_reward  # noqa: F401 - registers its classes


def modelling_module(folder: Path) -> str | None:
    """Return the module of transformers that would hold the classes of a model folder, if any does.

    It takes a second to import.
    """
    model_type = _model_type(folder)
    name = model_type.replace("-", "_") if isinstance(model_type, str) else ""
    return f"transformers.models.{name}.modeling_{name}" if name.isidentifier() else None


def _model_type(folder: Path) -> Any:
    """Return the type that a configuration names; whoever reads it next says what is wrong with it."""
    try:
        return json.loads((folder / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
