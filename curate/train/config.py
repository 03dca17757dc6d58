"""The configuration of a training run: every setting with its default, checked, and a hash of what matters."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal, final

from curate.contracts import BatchPolicy, Mixture, Objective
from curate.contracts.describe import Kind
from curate.errors import ConfigError
from curate.models.batch import default_batch_tokens
from curate.models.load import resolve_device, resolve_dtype
from curate.models.text.masks import CURATE, TRL
from curate.models.text.templates import CHAT, text_template
from curate.train.data_config import DataConfig, choice, positive
from curate.train.evaluation.answers import extractor
from curate.train.mixtures.uniform import Uniform
from curate.train.objectives.next_token import NextToken
from curate.train.policies.keep_all import KeepAll
from curate.train.steps.fused_head import AUTO, FUSED_LOSSES

Schedule = Literal["cosine", "linear", "constant"]
Tracker = Literal["none", "tensorboard", "wandb", "trackio"]

SCHEDULES: Final = ("cosine", "linear", "constant")
TRACKERS: Final = ("none", "tensorboard", "wandb", "trackio")
CUDA_MICRO_TOKENS: Final = 4_096  # beside float32 weights, gradients and their moments
TRAIN_DTYPES: Final = ("float32", "bfloat16", "float64")
SEAMS: Final[tuple[Kind, ...]] = ("objective", "policy", "mixture")


@final
@dataclass(frozen=True, slots=True)
class LengthConfig:
    """How long to train; at most one of the three, none means one epoch.

    Parameters
    ----------
    epochs
        Number of times each row is seen.
    max_steps
        Optimiser steps.
    max_tokens
        Trained tokens: those of the rows fed, prompt and response, without padding. The run stops
        before the row that would exceed it.
    """

    epochs: int | None = None
    max_steps: int | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            shown = ", ".join(f"{name}={value}" for name, value in given.items())
            raise ConfigError(f"a run has one length, got {shown}; keep one of them")
        for name, value in given.items():
            positive(name, value)


@final
@dataclass(frozen=True, slots=True)
class OptimiserConfig:
    """AdamW and its learning rate.

    Parameters
    ----------
    lr
        Peak learning rate; 2e-5 suits full fine-tuning, 2e-4 LoRA.
    schedule
        After the warm-up: ``cosine`` or ``linear`` down to 0 at the last step, or ``constant``.
    warmup_ratio
        Share of all steps in which the rate rises linearly to its peak: step i of w takes i / w of
        it. The `Trainer` of transformers takes (i - 1) / w, so that its first step changes nothing
        and its peak comes a step later; all else equal its run is one warm-up step behind.
    weight_decay
        Decoupled; not applied to biases and norms.
    betas, eps
        Of Adam.
    clip
        Largest global norm of the gradient, or None for no clipping.
    eight_bit
        Keep the moments in eight bits, by bitsandbytes, on a GPU: 2 bytes a weight instead of 8. Another run.
    """

    lr: float = 2e-5
    schedule: Schedule = "cosine"
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float | None = 1.0
    eight_bit: bool = False

    def __post_init__(self) -> None:
        choice("schedule", self.schedule, SCHEDULES)
        positive("lr", self.lr)
        positive("eps", self.eps)
        if self.clip is not None:
            positive("clip", self.clip)
        if not 0 <= self.warmup_ratio <= 1:
            raise ConfigError(f"warmup_ratio is a share of the steps, got {self.warmup_ratio!r}")
        if not self.weight_decay >= 0:
            raise ConfigError(f"weight_decay must not be negative, got {self.weight_decay!r}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are two numbers in [0, 1), got {self.betas!r}; try 0.9,0.999")

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step, counted from 0, in a run of ``n_steps``."""
        warmup = math.ceil(self.warmup_ratio * n_steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if self.schedule == "constant":
            return self.lr
        left = (n_steps - step) / max(1, n_steps - warmup)
        return self.lr * (
            left if self.schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)
        )


@final
@dataclass(frozen=True, slots=True)
class LoraConfig:
    """A low-rank adapter instead of full fine-tuning.

    Parameters
    ----------
    r, alpha, dropout
        Rank, scale (alpha / r) and dropout in front of the adapter.
    targets
        Names, or ends of names, of the linear layers it sits in; ``all-linear`` for all of them
        but the LM head.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all-linear",)

    def __post_init__(self) -> None:
        positive("r", self.r)
        positive("alpha", self.alpha)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout!r}")
        if not self.targets:
            raise ConfigError("lora needs targets; pass layer names, or all-linear")


@final
@dataclass(frozen=True, slots=True)
class MethodConfig:
    """What is trained and how a step is made: an adapter or all weights, and the three seams.

    Parameters
    ----------
    lora
        Adapter, or None for full fine-tuning.
    objective
        Loss of the scored positions.
    policy
        Which rows of a candidate batch are trained on.
    mixture
        How often each source is drawn.
    """

    lora: LoraConfig | None = None
    objective: Objective = field(default_factory=NextToken)
    policy: BatchPolicy = field(default_factory=KeepAll)
    mixture: Mixture = field(default_factory=Uniform)


@final
@dataclass(frozen=True, slots=True)
class ComputeConfig:
    """Numbers and hardware.

    Parameters
    ----------
    dtype
        ``float32``, ``float64``, or ``bfloat16``: computed in bfloat16 under autocast, with the
        trained weights and the optimiser in float32 (a frozen base under LoRA is in bfloat16).
        ``auto``: bfloat16 on a GPU that has it, else float32.
    device
        ``auto``, ``cpu`` or ``cuda``.
    threads
        CPU threads; the same number gives bit-identical results. None: torch's default.
    gradient_checkpointing
        Recompute activations in the backward pass: less memory, about a third more time.
    fused_loss
        Kernel for the LM head and its loss: ``cut-cross-entropy``, ``liger``, or ``off`` for logits in chunks.
        ``auto``: the first of them that is installed, on a GPU in bfloat16. Each is compared with logits on
        the first batch, and not used if it differs.
    """

    dtype: str = "auto"
    device: str = "auto"
    threads: int | None = None
    gradient_checkpointing: bool = False
    fused_loss: str = AUTO

    def __post_init__(self) -> None:
        choice("dtype", self.dtype, ("auto", *TRAIN_DTYPES))
        choice("fused_loss", self.fused_loss, FUSED_LOSSES)
        if self.threads is not None:
            positive("threads", self.threads)


@final
@dataclass(frozen=True, slots=True)
class WatchConfig:
    """Evaluation, checkpoints and reporting during training.

    Parameters
    ----------
    eval_every
        Steps between evaluations; None: at the end only.
    patience
        Stop after this many evaluations of the first set without a lower mean NLL, and keep the
        best weights. None: never.
    extractor
        Also generate, and compare what this extractor finds in the answers; see
        `curate.train.evaluation.answers`. None: NLL only.
    max_new_tokens
        Maximum number of tokens to generate per example.
    save_every
        Steps between checkpoints; None: by time alone.
    save_minutes
        Minutes after which a checkpoint is due, whatever the steps; None: never by time.
    keep
        Checkpoints kept, the newest ones.
    report_to
        Tracker to send metrics to.
    """

    eval_every: int | None = None
    patience: int | None = None
    extractor: str | None = None
    max_new_tokens: int = 256
    save_every: int | None = None
    save_minutes: float | None = 30.0
    keep: int = 2
    report_to: Tracker = "none"

    def __post_init__(self) -> None:
        choice("report_to", self.report_to, TRACKERS)
        for name in (
            "eval_every", "patience", "max_new_tokens", "save_every", "save_minutes", "keep",
        ):  # fmt: skip
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if self.extractor is not None:
            extractor(self.extractor)  # refuses a name that is none
        if self.patience is not None and self.eval_every is None:
            raise ConfigError(f"patience={self.patience} counts evaluations; set eval_every too")


@final
@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run. Nine fields, because six of them are groups of settings.

    Parameters
    ----------
    model, revision
        Folder or hub id to start from, and its revision.
    seed
        Determines the order of the rows, dropout and the adapter's initial weights.
    data, length, optimiser, method, compute, watch
        See the classes.
    """

    model: str
    revision: str | None = None
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    length: LengthConfig = field(default_factory=LengthConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)

    def resolved(self, *, has_chat_template: bool) -> "TrainConfig":
        """Replace every ``auto``, and every None that has a default, by its actual value here.

        Raises `ConfigError` for a device or template that does not exist.
        """
        device = resolve_device(self.compute.device)
        template = self.data.template
        if template == "auto":
            template = CHAT if has_chat_template else "plain"
        if template not in (CHAT, TRL):
            text_template(template)
            if self.data.chat.mask != CURATE:
                raise ConfigError(
                    f"mask {self.data.mask!r} says what is trained on of a chat template, but the "
                    f"template is {template!r}; leave the mask out, or train with template chat"
                )
        length = self.length
        if length == LengthConfig():
            length = LengthConfig(epochs=1)
        on_gpu = device.startswith("cuda")
        default = CUDA_MICRO_TOKENS if on_gpu else default_batch_tokens(device)
        micro = self.data.micro_tokens or default
        return replace(
            self,
            data=replace(self.data, template=template, micro_tokens=micro),
            length=length,
            compute=replace(
                self.compute, device=device, dtype=resolve_dtype(self.compute.dtype, device)
            ),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return every setting as plain values, seams by name and fields."""
        values = asdict(self)
        for seam in SEAMS:
            chosen = getattr(self.method, seam)
            values["method"][seam] = {"name": chosen.name, **asdict(chosen)}
        for name in ("reasoning", "template_args", "chat_template", "mask"):
            if values["data"][name] in (None, CURATE):  # so that older records stay as they are
                del values["data"][name]
        values["optimiser"]["betas"] = list(self.optimiser.betas)
        if not self.optimiser.eight_bit:  # as in older records, and in the identity of their runs
            del values["optimiser"]["eight_bit"]
        if self.method.lora is not None:
            values["method"]["lora"]["targets"] = list(self.method.lora.targets)
        return values

    def identity(self) -> dict[str, Any]:
        """Return what determines the trained weights, up to rounding.

        Left out: the model's name (its content is hashed instead), the size of a forward pass,
        device, threads, gradient checkpointing, trackers and how often to save; and how to
        evaluate, unless that controls early stopping.
        """
        values = self.as_dict()
        for name in ("model", "revision"):
            values.pop(name)
        values["data"].pop("micro_tokens")
        values["data"].pop("chat_template", None)  # its content is hashed instead
        values["compute"] = {"dtype": self.compute.dtype}
        watch = values.pop("watch")
        if self.watch.patience is not None:
            values["watch"] = {name: watch[name] for name in ("eval_every", "patience")}
        return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
