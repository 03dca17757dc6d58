"""Trajectories from checkpoints on disk: of a run of this library, or model folders of any trainer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from safetensors.torch import load_file

from curate.contracts import RunScorer
from curate.contracts.progress import Progress, SilentProgress
from curate.errors import ConfigError, ModelError
from curate.models.files import folder_hash, text_hash
from curate.models.load import ResolvedModel, load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.scoring.recorded.trajectories import (
    FOLDER,
    SCORER,
    VERSION,
    PointWork,
    complete_set,
    model_key,
    template_key,
)
from curate.scoring.requests import with_template
from curate.store.parts import read_json
from curate.store.records import POOL_INPUT, ScoreKey
from curate.train.checkpoints import CHECKPOINTS, RUN, load_weights
from curate.train.config import TrainConfig
from curate.train.model import TrainedModel, load_trained_model
from curate.train.recipes import build_config

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.store import Store

_STEP: Final = re.compile(r"(\d+)$")
_WEIGHTS: Final = "weights.safetensors"
STAGE: Final = "trajectory"
FLAG: Final = "--from-checkpoints"


@final
@dataclass(frozen=True, slots=True)
class _Saved:
    """One checkpoint: its folder, step, content, and the model whose files it needs."""

    folder: Path
    step: int
    fingerprint: str
    resolved: ResolvedModel
    is_ours: bool

    def load(self, config: TrainConfig) -> TrainedModel:
        """Load the weights of the checkpoint."""
        import torch

        model = load_trained_model(self.resolved, config, torch.device(config.compute.device))
        if self.is_ours:
            parameters = dict(model.named_parameters())
            load_weights(parameters, load_file(self.folder / _WEIGHTS), self.folder)
        return model


def trajectory_of_checkpoints(
    store: "Store",
    folders: Sequence[str | Path],
    config: TrainConfig,
    *,
    alias: str = SCORER,
    progress: Progress | None = None,
) -> str:
    """Measure the pool at each of some checkpoints; return the id of the score set ``trajectory``.

    If it is killed, the same call resumes with the missing shards. A step is the number at the end
    of a folder's name (``checkpoint-500``), or its place in the list.

    Parameters
    ----------
    folders
        Below ``checkpoints/`` of a run's output, or folders `save_pretrained` wrote.
    config
        How the run was rendered and computed; for checkpoints of this library also its model and
        adapter settings.

    Raises
    ------
    ConfigError
        No folders, or two of one step.
    ModelError
        A folder is not a checkpoint, or its tokenizer differs from the first one's.
    """
    progress = progress or SilentProgress()
    base = resolve_model(config.model, revision=config.revision, chat=config.data.chat)
    saved = _find([Path(folder) for folder in folders], base)
    first = saved[0].resolved
    config = config.resolved(has_chat_template=first.chat_template_hash is not None)
    data = config.data
    assert data.micro_tokens is not None
    rendering = data.rendering
    key = ScoreKey(
        scorer=SCORER,
        version=VERSION,
        config={"points": len(saved), "source": "checkpoints", "steps": [s.step for s in saved]},
        model=model_key(base),
        tokenizer=first.tokenizer_hash,
        template=template_key(rendering, first),
        max_length=data.max_length or first.max_length,
        dtype=config.compute.dtype,
        inputs={
            "checkpoints": text_hash(" ".join(s.fingerprint for s in saved)),
            POOL_INPUT: store.pool_hash(),
        },
    )
    stored = complete_set(store, key)
    if stored is not None:
        progress.note(f"the trajectory of these checkpoints is in the store as {stored}")
        return stored
    score_set = store.score_set(key, alias, {"batch_tokens": data.micro_tokens})
    renderer = Renderer(load_tokenizer(first.path), first.max_length, data.chat)
    unfinished = store.parts / "cache" / FOLDER
    batch_tokens = int(score_set.run["batch_tokens"])
    work = PointWork(score_set, store.shards(), unfinished, renderer, rendering, batch_tokens)
    steps = [checkpoint.step for checkpoint in saved]
    progress.start(STAGE, len(saved), "checkpoints")
    for checkpoint in saved:
        if work.missing([checkpoint.step]):
            work.measure(checkpoint.step, checkpoint.load(config), None)
        progress.advance(STAGE, 1)
    progress.finish(STAGE)
    return work.assemble(store, steps, config.compute.device)


def checkpoints_below(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, in order of name.

    Looks in its subfolder ``checkpoints`` if there is one, as in the output of a run of this
    library, else in the folder itself. Raises `ConfigError` for a folder without any.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{FLAG} {folder}: no such folder; give the output folder of a training run"
        )
    inside = folder / CHECKPOINTS
    children = sorted((inside if inside.is_dir() else folder).iterdir())
    checkpoints = [child for child in children if _is_ours(child) or _is_model(child)]
    if not checkpoints:
        raise ConfigError(
            f"{FLAG} {folder}: no checkpoints in it; give the output folder of curate train with its "
            "checkpoints, or a folder of model folders such as checkpoint-500"
        )
    return checkpoints


def config_of_checkpoints(
    scorer: RunScorer, folder: Path, model: str, options: "ScoringOptions"
) -> TrainConfig:
    """Return how to load and render checkpoints: as their run did, or as the scorer says.

    The run of this library that a folder belongs to is in its ``run.json``; for any other trainer's
    checkpoints, template and length are the scorer's. Raises `ConfigError` where the run trained
    another model than ``model``.
    """
    run = folder / RUN
    if run.is_file():
        identity = read_json(run)
        _check_model(identity["model"], model, folder)
        settings = {
            **{
                f"data.{name}": identity["data"][name]
                for name in ("template", "turns", "max_length")
            },
            **{f"lora.{name}": value for name, value in (identity["method"]["lora"] or {}).items()},
            **{
                f"data.{name}": identity["data"][name]
                for name in ("reasoning", "template_args", "mask")
                if name in identity["data"]
            },
            "compute.dtype": identity["compute"]["dtype"],
        }
    else:
        rendered, _ = with_template(scorer, options.template)
        assert isinstance(rendered, RunScorer)
        max_length = rendered.recipe().settings.get("data.max_length")
        settings = {"data.template": rendered.template, "data.max_length": max_length}
    settings |= options.chat_settings
    settings["compute.device"] = options.device
    settings["data.micro_tokens"] = options.batch_tokens
    if options.dtype != "auto":
        settings["compute.dtype"] = options.dtype
    return build_config(model, settings)


def _check_model(fingerprint: str, model: str, folder: Path) -> None:
    if resolve_model(model).fingerprint != fingerprint:
        raise ConfigError(
            f"{FLAG} {folder}: its run trained another model than {model}; pass the model it started "
            "from: --model-for proxy=MODEL"
        )


def _is_ours(folder: Path) -> bool:
    return (folder / _WEIGHTS).is_file() and (folder / "state.json").is_file()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _find(folders: Sequence[Path], base: ResolvedModel) -> list[_Saved]:
    if not folders:
        raise ConfigError("no checkpoints were given; name their folders")
    saved = []
    for place, folder in enumerate(folders, 1):
        number = _STEP.search(folder.name)
        step = int(number.group(1)) if number else place
        if _is_ours(folder):
            saved.append(_Saved(folder, step, folder_hash(folder), base, True))
        else:
            resolved = resolve_model(str(folder), chat=base.chat)
            saved.append(_Saved(folder, step, resolved.fingerprint, resolved, False))
    saved.sort(key=lambda checkpoint: checkpoint.step)
    for checkpoint, other in pairwise(saved):
        if checkpoint.step == other.step:
            raise ConfigError(
                f"checkpoints {checkpoint.folder} and {other.folder} are both from step "
                f"{checkpoint.step}; name one of them"
            )
    for checkpoint in saved:
        if checkpoint.resolved.tokenizer_hash != saved[0].resolved.tokenizer_hash:
            raise ModelError(
                f"checkpoint {checkpoint.folder} has a different tokenizer from {saved[0].folder}; "
                "their losses cannot be compared; name checkpoints of one run"
            )
    return saved
