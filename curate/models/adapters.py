"""LoRA adapters: read from their folder and merged into a model."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.errors import MissingPackageError, ModelError
from curate.models.pretrained import UNREADABLE, first_line


def merge_adapter(model: Any, adapter: str) -> Any:
    """Return a model with an adapter merged in; nothing of it is unpickled.

    Raises
    ------
    MissingPackageError
        The package peft is not installed.
    ModelError
        The adapter has only pickled weights, or does not fit the model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingPackageError(
            f"adapter {adapter!r} needs the package peft; type: pip install 'curate-sft[lora]'"
        ) from error
    folder = Path(adapter)
    if folder.is_dir() and not (folder / "adapter_model.safetensors").is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        only = (
            f"only pickled weights ({pickles[0]}), which can run code when they are read"
            if pickles
            else "no weights"
        )
        raise ModelError(
            f"adapter {adapter!r} has {only}; save it with save_pretrained(folder, "
            "safe_serialization=True) and pass that folder"
        )
    try:
        with quiet_peft():
            return PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (*UNREADABLE, RuntimeError) as error:
        raise ModelError(
            f"adapter {adapter!r} cannot be applied to the model: {first_line(error)}; "
            "check that it was trained on this model"
        ) from error


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence a warning: peft asks transformers by a name that newer versions call deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield
