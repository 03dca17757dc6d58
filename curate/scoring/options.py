"""How to score: the options of every command that may compute scores."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from curate.contracts import ROLES
from curate.errors import ConfigError, did_you_mean
from curate.models.load import device_for, resolve_dtype
from curate.models.text.chat_options import ChatOptions, arguments_of
from curate.models.text.masks import CURATE, TRL
from curate.models.text.templates import CHAT
from curate.scoring.backends import AUTO, check_backend
from curate.scoring.executors import EXECUTORS, RAY
from curate.scoring.executors.ray_cluster import Cluster, require_ray


@final
class TimeIsUpError(Exception):
    """``max_hours`` are over. No `TimeoutError`: that is what a network gives up with.

    Whoever asks `ScoringOptions.stop_in_time` ends with `InterruptedRunError`, what is finished saved.
    """


@final
@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How to score: models by role, rendering, device and parallelism.

    ``models`` maps roles to folders or hub ids. ``max_failures`` is a count or a share such as
    ``1%`` of the examples of each score set. ``from_checkpoints`` is a folder whose checkpoints
    a trajectory is measured at, instead of training. ``ray_address``, ``num_gpus_per_worker`` and
    ``max_workers`` are those of `Cluster`; without Ray ``num_gpus_per_worker`` are cards of this machine,
    and None as few as the model needs. ``reasoning``, ``template_args``,
    ``chat_template`` and ``mask`` are those of `ChatOptions.of`, the arguments as one text.
    ``profile`` is a folder for a trace of the first shard of each pass. ``measures``: what is faster on
    this machine may decide how new sets are scored; False where other machines score the same sets.
    ``backend`` runs language models: ``auto`` is our own pass, ``vllm`` vLLM.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    revision: str | None = None
    template: str = "method"
    device: str = "auto"
    dtype: str = "auto"
    batch_tokens: int | None = None
    workers: int | None = None
    executor: str = "local"
    ray_address: str | None = None
    num_gpus_per_worker: float | None = None
    max_workers: int | None = None
    max_failures: str = "1%"
    max_hours: float | None = None
    from_checkpoints: str | None = None
    reasoning: str | None = None
    template_args: str | None = None
    chat_template: str | None = None
    mask: str | None = None
    profile: str | None = None
    measures: bool = True
    backend: str = AUTO

    @property
    def cluster(self) -> Cluster:
        """The Ray cluster, and what is taken of it."""
        return Cluster(self.ray_address, self.num_gpus_per_worker or 0.0, self.max_workers)

    @property
    def asked_workers(self) -> int | None:
        """How many workers may start, or None for as many as the work is worth on this machine."""
        return (self.max_workers or sys.maxsize) if self.executor == RAY else self.workers

    @property
    def cards_per_worker(self) -> int | None:
        """How many GPUs of this machine each worker holds; None for as few as its models need."""
        asked = None if self.executor == RAY else self.num_gpus_per_worker
        return None if asked is None else int(asked)

    def worker_device(self, *, runs_weights: bool) -> str:
        """Return the device that shards are scored on; cpu where no weights run."""
        if self.executor == RAY:
            return self.cluster.device
        return device_for(self.device, runs_weights=runs_weights)

    def worker_dtype(self) -> str:
        """Return the dtype of models; where Ray's workers have GPUs, ``auto`` is bfloat16."""
        device = self.worker_device(runs_weights=True)
        if self.executor == RAY and device != "cpu" and self.dtype == "auto":
            return "bfloat16"
        return resolve_dtype(self.dtype, device)

    @property
    def chat(self) -> ChatOptions:
        """How conversations go through the chat template."""
        return ChatOptions.of(
            self.reasoning,
            arguments_of(self.template_args),
            self.chat_template,
            self.mask,
            from_trl=self.template == TRL,
        )

    @property
    def chat_settings(self) -> dict[str, Any]:
        """What is chosen of these as settings of a training run, by dotted name."""
        given = {
            "data.reasoning": self.reasoning,
            "data.template_args": self.template_args,
            "data.chat_template": self.chat_template,
            "data.mask": self.mask,
        }
        return {name: value for name, value in given.items() if value is not None}

    def __post_init__(self) -> None:
        unknown = sorted(set(self.models) - set(ROLES))
        if unknown:
            hint = did_you_mean(unknown[0], ROLES)
            raise ConfigError(f"no role {unknown[0]!r}{hint}; roles are: {', '.join(ROLES)}")
        if self.template not in ("method", CHAT, "plain", TRL):
            raise ConfigError(f"--template is method, chat, plain or trl, got {self.template!r}")
        if self.template == "plain" and self.chat.mask != CURATE:
            raise ConfigError(
                f"--mask {self.mask} says what is scored of a chat template, but --template plain "
                "uses none; leave one of them out"
            )
        if self.executor not in EXECUTORS:
            raise ConfigError(f"--executor is {' or '.join(EXECUTORS)}, got {self.executor!r}")
        self._check_ray()
        check_backend(self)
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise ConfigError(f"--batch-tokens must be positive, got {self.batch_tokens}")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers must be at least 1, got {self.workers}")
        if self.max_hours is not None and not self.max_hours > 0:
            raise ConfigError(f"--max-hours must be positive, got {self.max_hours:g}")
        target = self.models.get("target")
        if self.revision is not None and target is not None and Path(target).is_dir():
            raise ConfigError(
                f"--revision {self.revision!r} is a revision on the hub, but {target!r} is a folder; "
                "leave --revision out, or give --model as a hub id"
            )
        self.tolerated(100)
        _ = self.chat  # refuses what it cannot use

    def stop_in_time(self, began: float) -> None:
        """Raise `TimeIsUpError` where ``max_hours`` are over since a value of ``time.perf_counter``."""
        if self.max_hours is not None and time.perf_counter() - began > self.max_hours * 3600:
            raise TimeIsUpError

    def _check_ray(self) -> None:
        if self.executor != RAY:
            for name in ("ray_address", "max_workers"):
                if getattr(self, name) is not None:
                    flag = name.replace("_", "-")
                    raise ConfigError(f"--{flag} is for Ray; add --executor ray, or leave it out")
            self._check_cards()
            return
        if self.workers is not None:
            raise ConfigError(
                f"--workers {self.workers} counts processes of this machine; with --executor ray say "
                f"--max-workers {self.workers}"
            )
        gpus = self.num_gpus_per_worker or 0.0
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise ConfigError(
                f"--num-gpus-per-worker is 1, or a part such as 0.5 where several share one, got {gpus:g}"
            )
        if self.max_workers is not None and self.max_workers < 1:
            raise ConfigError(f"--max-workers must be at least 1, got {self.max_workers}")
        if self.device != "auto" and (self.device == "cpu") == bool(gpus):
            raise ConfigError(
                f"--device {self.device} with --num-gpus-per-worker {gpus:g}: on Ray a worker computes on the "
                "GPU that it takes, and without one on the CPU; leave --device out"
            )
        require_ray()

    def _check_cards(self) -> None:
        asked = self.num_gpus_per_worker
        if asked is None:
            return
        if asked < 1 or asked != int(asked):
            raise ConfigError(
                f"--num-gpus-per-worker is a whole number of GPUs on this machine, got {asked:g}; a part of one, "
                "and none, are for --executor ray"
            )
        if self.backend != AUTO and asked > 1:
            raise ConfigError(
                f"--num-gpus-per-worker {asked:g} with --backend {self.backend}: each worker takes one GPU; "
                "leave one of them out"
            )

    def tolerated(self, n_examples: int) -> int:
        """Return how many of ``n_examples`` may fail."""
        text = self.max_failures.strip()
        try:
            share = float(text.removesuffix("%"))
        except ValueError:
            share = -1.0
        if share < 0 or (not text.endswith("%") and not share.is_integer()):
            raise ConfigError(
                f"--max-failures takes a count or a share, got {self.max_failures!r}; type 10 or 1%"
            )
        return int(n_examples * share / 100) if text.endswith("%") else int(share)
