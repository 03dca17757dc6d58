"""The trainers an export can be made for."""

from typing import Final

from curate.data.write.row_formats import RowFormat
from curate.data.write.trainers.axolotl import Axolotl
from curate.data.write.trainers.base import Trainer
from curate.data.write.trainers.llama_factory import LlamaFactory
from curate.data.write.trainers.trl import TRL
from curate.errors import ConfigError, did_you_mean

TRAINERS: Final[dict[str, Trainer]] = {
    trainer.name: trainer for trainer in (LlamaFactory(), Axolotl(), TRL())
}


def get_trainer(name: str) -> Trainer:
    """Return a trainer by name; raise `ConfigError` for an unknown one."""
    if name not in TRAINERS:
        raise ConfigError(
            f"unknown --trainer {name!r}{did_you_mean(name, TRAINERS)}; choose {', '.join(TRAINERS)}"
        )
    return TRAINERS[name]


def format_for(trainer: Trainer, to: str | None) -> tuple[str, RowFormat]:
    """Return name and format of the rows for a trainer; its default for None.

    Raises `ConfigError` for a format it does not read.
    """
    name = next(iter(trainer.formats)) if to is None else to
    if name not in trainer.formats:
        raise ConfigError(
            f"{trainer.title} cannot be given --to {to!r}; choose {', '.join(trainer.formats)}, or "
            "leave it out"
        )
    return name, trainer.formats[name]
