"""The checkpoints of a finished adapter run, with their Adam moments and learning rates: what LESS reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.errors import ConfigError
from curate.models.files import file_hash
from curate.store.parts import read_json
from curate.train.api import load_record
from curate.train.checkpoints import RUN, Checkpoint, RunFolder
from curate.train.config import TrainConfig
from curate.train.recipes import build_config
from curate.train.record import TrainRecord

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel

FIRST: Final = "exp_avg"
SECOND: Final = "exp_avg_sq"
_FILES: Final = ("weights.safetensors", "optimiser.safetensors")
_HOW: Final = "curate train --lora --set length.epochs=4 --set watch.save_every=STEPS --set watch.keep=4 -o FOLDER"


@final
@dataclass(frozen=True, slots=True, eq=False)
class WarmUp:
    """A finished run of an adapter, and what share each of its checkpoints has.

    Parameters
    ----------
    folder
        Of the run.
    config
        What is needed to make the model again: adapter, seed, optimiser.
    shares
        By step of a checkpoint, oldest first: the mean learning rate since the one before it, scaled so
        that all add up to 1.
    """

    folder: RunFolder
    config: TrainConfig
    shares: Mapping[int, float]

    @classmethod
    def read(cls, path: str, resolved: "ResolvedModel", device: str, dtype: str) -> "WarmUp":
        """Read a run of a model.

        Raises `DataError` for a folder without a finished run, and `ConfigError` for a run of all weights,
        one without a checkpoint, and one of another model.
        """
        folder = RunFolder(Path(path).absolute())
        record = load_record(folder.path)
        settings: Mapping[str, Any] = record.config["settings"]
        lora = settings["method"]["lora"]
        if lora is None:
            raise ConfigError(
                f"the run in {path} trained all weights, and gradients of an adapter are wanted; train one: {_HOW}"
            )
        if read_json(folder.path / RUN)["model"] != resolved.fingerprint:
            raise ConfigError(
                f"the run in {path} trained {settings['model']}, not the model {resolved.name} given here; "
                f"pass --model {settings['model']}"
            )
        wanted = {
            **{f"lora.{name}": value for name, value in lora.items()},
            **{f"optimiser.{name}": value for name, value in settings["optimiser"].items()},
            "compute.device": device, "compute.dtype": dtype,
        }  # fmt: skip
        config = build_config(resolved.name, wanted, seed=settings["seed"])
        steps = folder.steps()
        if not steps:
            raise ConfigError(f"the run in {path} has no checkpoint; train again: {_HOW}")
        n_steps = _planned_steps(path, record)
        rates = [config.optimiser.rate(step, n_steps) for step in range(steps[-1])]
        starts = [0, *steps[:-1]]
        means = {
            step: sum(rates[start:step]) / (step - start)
            for start, step in zip(starts, steps, strict=True)
        }
        return cls(
            folder, config, {step: mean / sum(means.values()) for step, mean in means.items()}
        )

    def load(self, step: int) -> Checkpoint:
        """Return a checkpoint; `ConfigError` for one without Adam's moments."""
        checkpoint = self.folder.load(step)
        for name in checkpoint.weights:
            if f"{name}:{SECOND}" not in checkpoint.optimiser:
                raise ConfigError(
                    f"checkpoint {self.folder.checkpoint(step)} has no moments of {name!r}; train with AdamW: {_HOW}"
                )
        return checkpoint


def _planned_steps(path: str, record: TrainRecord) -> int:
    """Return how many steps a run's learning rates were made for."""
    planned = record.outcome.get("planned_steps")
    if planned is not None:
        return int(planned)
    if record.outcome.get("stopped_early"):
        raise ConfigError(
            f"the run in {path} stopped early, and an older version did not record for how many steps its "
            f"learning rates were made; train again: {_HOW}"
        )
    return len(record.history)


def hashes_of_checkpoints(path: str) -> dict[str, str]:
    """Return the hash of each file of a run that gradients are made of; `ConfigError` if there is none."""
    folder = RunFolder(Path(path).absolute())
    steps = folder.steps() if folder.path.is_dir() else []
    if not steps:
        raise ConfigError(f"{path!r} holds no run with checkpoints; train one: {_HOW}")
    named = {f"{step}/{name}": folder.checkpoint(step) / name for step in steps for name in _FILES}
    return {name: file_hash(path) for name, path in named.items()}
