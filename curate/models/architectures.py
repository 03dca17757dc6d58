"""Model architectures that transformers does not have."""

import json
from pathlib import Path
from typing import Final

GPT_NEOX_REWARD: Final = "gpt_neox_reward_model"


def register_architecture(folder: Path) -> None:
    """Register the architecture of a model folder with transformers, if only we have it.

    Currently one: the GPT-NeoX reward models of Open-Assistant.
    """
    config = folder / "config.json"
    try:
        model_type = json.loads(config.read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError):
        return  # whoever reads the configuration next says what is wrong with it
    if model_type == GPT_NEOX_REWARD:
        import curate.models.classifiers.gpt_neox_reward  # noqa: F401 - registers its classes
