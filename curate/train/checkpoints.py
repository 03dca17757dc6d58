"""The folder of a run: atomic checkpoints, and the identity they belong to.

``run.json`` says what the run is; ``checkpoints/step-00000120/`` holds trained weights, optimiser
and state; the final weights are in the folder itself; ``record.json`` is written last.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from curate.errors import ConfigError, TrainError
from curate.store.parts import (
    TMP_MARK,
    full_disk_as_error,
    owner,
    owner_is_dead,
    read_json,
    sync,
    sync_tree,
    write_json,
)
from curate.train.config import flatten

RUN: Final = "run.json"
RECORD: Final = "record.json"
CHECKPOINTS: Final = "checkpoints"
_PREFIX: Final = "step-"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything a run needs to resume.

    Parameters
    ----------
    step
        Optimiser steps done.
    weights
        Trained parameters by name.
    optimiser
        Its tensors by ``name:slot``.
    arrays
        What was measured so far, by name.
    state
        Counters and the state of the seams, as JSON holds it.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    arrays: Mapping[str, Tensor]
    state: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class RunFolder:
    """The output folder of one run.

    Parameters
    ----------
    path
        Folder given with ``-o``.
    """

    path: Path

    def open(self, identity: Mapping[str, Any], *, write: bool, is_held: bool = False) -> None:
        """Create the folder, or make sure that it holds the same run.

        ``write``: whether this process is the one that makes it. ``is_held``: no other can be at work
        there, so that all that is half written was left by a killed one. Raises `ConfigError` for a folder
        with something else in it, and for a run of another configuration, naming what changed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(
                f"output {self.path} is a file; give a folder that does not exist yet"
            )
        names = sorted(p.name for p in self.path.iterdir()) if self.path.exists() else []
        names = [name for name in names if TMP_MARK not in name]
        if RUN in names:
            self._check(identity)
        elif names:
            shown = ", ".join(names[:3])
            raise ConfigError(
                f"output folder {self.path} exists and holds something else ({shown}); "
                "give a folder that does not exist yet"
            )
        if write:
            write_json(self.path / RUN, dict(identity))
            self._clean(is_held)

    def _check(self, identity: Mapping[str, Any]) -> None:
        before, now = flatten(read_json(self.path / RUN)), flatten(identity)
        before, now = json.loads(json.dumps(before)), json.loads(json.dumps(now))
        changed = [
            f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise ConfigError(
                f"output folder {self.path} holds a run of another configuration: "
                f"{'; '.join(changed)}; give another folder, or the settings it was started with"
            )

    def _clean(self, is_held: bool) -> None:
        for folder in (self.path, self.path / CHECKPOINTS):
            for left in folder.glob(f".*{TMP_MARK}*"):
                if is_held or owner_is_dead(left):
                    shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    @property
    def record(self) -> Path:
        """File whose existence means that the run is complete."""
        return self.path / RECORD

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint after that many steps."""
        return self.path / CHECKPOINTS / f"{_PREFIX}{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, oldest first."""
        folder = self.path / CHECKPOINTS
        return sorted(int(p.name.removeprefix(_PREFIX)) for p in folder.glob(f"{_PREFIX}*"))

    def save(self, checkpoint: Checkpoint, *, keep: int, also: int | None = None) -> None:
        """Write a checkpoint, then delete all but the newest ``keep`` and the one of step ``also``.

        An existing one is kept: a run reaches the same step with the same weights.
        """
        final = self.checkpoint(checkpoint.step)
        if not final.exists():
            self._write(checkpoint, final)
        for step in self.steps()[:-keep]:
            if step != also:
                self._remove(self.checkpoint(step))

    def _write(self, checkpoint: Checkpoint, final: Path) -> None:
        temporary = final.with_name(f".{final.name}{TMP_MARK}{owner()}")
        with full_disk_as_error(final):
            try:
                temporary.mkdir(parents=True, exist_ok=True)
                for name in ("weights", "optimiser", "arrays"):
                    of_name: Mapping[str, Tensor] = getattr(checkpoint, name)
                    whole = {k: value.detach().cpu().contiguous() for k, value in of_name.items()}
                    save_file(whole, temporary / f"{name}.safetensors")
                write_json(temporary / "state.json", {**checkpoint.state, "step": checkpoint.step})
                sync_tree(temporary)
                os.replace(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync(final.parent)

    def put(self, save: Callable[[Path], None]) -> None:
        """Put the files that ``save`` writes into a folder, such as the final weights, in place.

        Each appears whole or not at all; in place of an earlier one of its name.
        """
        temporary = self.path / f".final{TMP_MARK}{owner()}"
        with full_disk_as_error(temporary):
            try:
                save(temporary)
                sync_tree(temporary)
                for file in sorted(temporary.iterdir()):
                    os.replace(file, self.path / file.name)
                sync(self.path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def load(self, step: int) -> Checkpoint:
        """Read a checkpoint; raise `TrainError` if a file of it is missing or damaged."""
        folder = self.checkpoint(step)
        try:
            tensors = {
                name: load_file(folder / f"{name}.safetensors")
                for name in ("weights", "optimiser", "arrays")
            }
            state = read_json(folder / "state.json")
        except (OSError, ValueError, SafetensorError) as error:
            raise TrainError(
                f"checkpoint {folder} is damaged ({error}); delete that folder and rerun the same "
                "command: it resumes from the previous one"
            ) from error
        return Checkpoint(step=step, state=state, **tensors)

    def _remove(self, folder: Path) -> None:
        dead = folder.with_name(f".{folder.name}.old{TMP_MARK}{owner()}")
        os.replace(folder, dead)
        shutil.rmtree(dead)


def load_weights(
    parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: Path
) -> None:
    """Copy a checkpoint's weights into a model.

    Raises `TrainError` for parameters that are missing, unknown, or of another shape.
    """
    for name in sorted({*parameters, *weights}):
        if name not in weights:
            raise TrainError(_mismatch(where, f"it has no {name!r}, which the model trains"))
        if name not in parameters:
            raise TrainError(_mismatch(where, f"it has {name!r}, which the model does not train"))
        saved, wanted = tuple(weights[name].shape), tuple(parameters[name].shape)
        if saved != wanted:
            raise TrainError(
                _mismatch(where, f"{name!r} has shape {saved} there and {wanted} in the model")
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _mismatch(where: Path, what: str) -> str:
    return (
        f"checkpoint {where} does not fit the model: {what}; "
        "train the model it was made from, or give another output folder"
    )
