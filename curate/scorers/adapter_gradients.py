"""The gradients of each example by an adapter's weights along a training run, projected."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np

from curate.contracts import (
    FAILURE,
    TOKENS_RUN,
    Column,
    Columns,
    Example,
    LoadContext,
    Rendering,
    Role,
    RowScorer,
)
from curate.errors import ConfigError
from curate.models.batch import default_batch_tokens
from curate.models.classifiers.text_model import object_column
from curate.models.load import ResolvedModel, load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.models.text.single_rows import SingleRows
from curate.registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from curate.models.passes.adapter_gradients import AdapterGradients, Moments


@register
@final
@dataclass(frozen=True)
class AdapterGradientsOf(RowScorer):
    """Gradients of an example's mean response loss by an adapter's weights, at the checkpoints of a run.

    What LESS [1]_ compares. At each checkpoint of a finished ``curate train --lora`` the gradient is projected by
    random signs and scaled to length 1; that, times the root of the checkpoint's share of the
    learning rate, is one stretch of the vector, so that an inner product of two vectors is the sum over
    checkpoints. ``adam`` has the direction of Adam's step for the example, ``sgd`` the gradient. Dropout is off.
    An example whose turns need a row each (see ``docs/chat.md``) fails.

    About three forward passes for each checkpoint, and the projection: two multiplications of the adapter's
    weights by ``dim`` an example, and drawing as many signs once for all examples whose gradients fit
    256 MiB together, 256 of them at most. A vector is of ``dim`` numbers a checkpoint, and there are two.

    Parameters
    ----------
    run
        Folder of the run. It needs a checkpoint an epoch: ``--set watch.save_every``, ``--set watch.keep``.
    dim
        Numbers a gradient is projected to; 8,192 as published.
    seed
        Draws the signs.
    template
        Text template, or ``chat``; that of the run.
    turns
        Score ``all`` assistant turns, or the ``last``.
    score_end
        Whether ends of turns count, as in training.

    References
    ----------
    .. [1] Xia, Malladi, Gururangan, Arora and Chen, LESS: Selecting Influential Data for Targeted Instruction
       Tuning, ICML 2024. https://arxiv.org/abs/2402.04333
    """

    name: ClassVar[str] = "adapter-gradients"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "adam": Column(
            "vector", "projected directions of Adam's step, one checkpoint after the other"
        ),
        "sgd": Column("vector", "projected gradients, one checkpoint after the other"),
    }
    run: str
    dim: int = 8_192
    seed: int = 0
    template: str = "chat"
    turns: Literal["all", "last"] = "all"
    score_end: bool = True

    def __post_init__(self) -> None:
        if not self.run.strip():
            raise ConfigError(
                "adapter-gradients.run is empty; give the folder of a finished run of curate train --lora"
            )
        if self.dim < 1:
            raise ConfigError(f"adapter-gradients.dim must be at least 1, got {self.dim}; try 8192")

    def read_files(self) -> Mapping[str, str]:
        from curate.train.warm_up import hashes_of_checkpoints

        return hashes_of_checkpoints(self.run)

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        assert context.model is not None
        resolved = resolve_model(context.model, revision=context.revision)
        renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length, context.chat)
        budget = context.batch_tokens or default_batch_tokens(context.device)
        passes = _Checkpoints.of(self, context, resolved)

        def score(examples: Sequence[Example]) -> Columns:
            single = SingleRows.of(
                renderer, examples, Rendering(self.template, turns=self.turns),
                score_end=self.score_end, batch_tokens=budget,
            )  # fmt: skip
            batches = [single.of_batch(batch) for batch in single.batches]
            places = np.concatenate([np.empty(0, np.int64), *single.batches])
            width = len(passes.shares) * self.dim
            found = {
                name: np.full((len(examples), width), np.nan, np.float32) for name in self.outputs
            }
            for stretch, share in enumerate(passes.shares):
                here = slice(stretch * self.dim, (stretch + 1) * self.dim)
                moments = passes.set_to(stretch)
                both = passes.gradients.run(batches, moments)
                for name, vectors in zip(self.outputs, both, strict=True):
                    found[name][places, here] = math.sqrt(share) * vectors.numpy()
            tokens = single.lengths * len(passes.shares)
            return {**found, FAILURE: object_column(single.reasons), TOKENS_RUN: tokens}

        return score


@final
@dataclass(frozen=True, eq=False)
class _Checkpoints:
    """A model with its adapter, put to one checkpoint after the other."""

    gradients: "AdapterGradients"
    shares: tuple[float, ...]
    set_to: "Callable[[int], Mapping[str, Moments]]"

    @classmethod
    def of(
        cls, scorer: AdapterGradientsOf, context: LoadContext, resolved: ResolvedModel
    ) -> "_Checkpoints":
        import torch

        from curate.models.passes.adapter_gradients import (
            AdapterGradients,
            Moments,
            adapter_modules,
        )
        from curate.train.checkpoints import load_weights
        from curate.train.model import load_trained_model
        from curate.train.warm_up import FIRST, SECOND, WarmUp

        run = WarmUp.read(scorer.run, resolved, context.device, context.dtype)
        model = load_trained_model(resolved, run.config, torch.device(context.device))
        model.whole.eval()
        steps = list(run.shares)

        def set_to(stretch: int) -> Mapping[str, Moments]:
            checkpoint = run.load(steps[stretch])
            load_weights(
                dict(model.named_parameters()),
                checkpoint.weights,
                run.folder.checkpoint(steps[stretch]),
            )
            means, settings = checkpoint.optimiser, run.config.optimiser
            return {
                name: Moments(
                    first=_like(means[f"{name}:{FIRST}"], model.head.weight),
                    second=_like(means[f"{name}:{SECOND}"], model.head.weight),
                    betas=settings.betas,
                    eps=settings.eps,
                )
                for name in checkpoint.weights
            }

        def hidden(ids: "torch.Tensor") -> "torch.Tensor":
            with model.autocast():
                return model.hidden(ids)

        made = AdapterGradients(
            hidden, model.head, adapter_modules(model.whole), scorer.dim, scorer.seed
        )
        return cls(made, tuple(run.shares.values()), set_to)


def _like(tensor: "Tensor", weight: "Tensor") -> "Tensor":
    import torch

    wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
    return tensor.to(weight.device, wide)
