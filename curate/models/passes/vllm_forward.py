"""Log-probabilities of scored tokens by vLLM's ``prompt_logprobs``, in place of our own pass."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, final

import numpy as np

from curate.errors import ConfigError, DeviceError, MissingPackageError, ModelError, ScoreError
from curate.models.load import ResolvedModel, load_tokenizer
from curate.models.memory import is_out_of_memory
from curate.models.pretrained import first_line

if TYPE_CHECKING:
    from jaxtyping import Float
    from transformers import PreTrainedTokenizerBase

    from curate.models.passes.forward import Measured, PassRequest
    from curate.models.text.render import Rendered

GPU_MEMORY_UTILIZATION: Final = 0.8  # vLLM sizes its cache without the logits of prompts
STEP_TOKENS: Final = 4_096  # run at once: their logits over the whole vocabulary are in memory
CALL_TOKENS: Final = 131_072  # handed over at once: the steps between waits for Python
OWN_TOKENS: Final = 2  # of a context: the end that is scored, and the token that vLLM must generate
IN_PROCESS: Final = "VLLM_ENABLE_V1_MULTIPROCESSING"
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


class Engine(Protocol):
    """What is used of ``vllm.LLM``."""

    def generate(self, prompts: Any, sampling_params: Any, *, use_tqdm: bool) -> Sequence[Any]:
        """Return one answer for each prompt, in order."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class VllmModel:
    """A model in an engine of vLLM, with its own tokenizer; no statistic of its head is measured."""

    resolved: ResolvedModel
    tokenizer: "PreTrainedTokenizerBase"
    device: str
    dtype: str
    engine: Engine
    head_weight_sq_norm: ClassVar[None] = None

    @property
    def place(self) -> str:
        """Where it runs."""
        return self.device

    @property
    def version(self) -> str:
        """Of vLLM."""
        return str(import_module("vllm").__version__)


def require_vllm() -> None:
    """Raise `MissingPackageError` where vLLM is not installed."""
    if find_spec("vllm") is None:
        raise MissingPackageError(
            "--backend vllm needs the package vllm, which is not installed; type: pip install vllm "
            "(it brings a torch of its own, so use a new environment), or leave --backend out"
        )


def load_vllm(resolved: ResolvedModel, device: str, dtype: str) -> VllmModel:
    """Start an engine in this process, which ends with it; that seeds the global random states.

    ``resolved.max_length`` leaves `OWN_TOKENS` of the model's context free.

    Raises
    ------
    ConfigError
        A device vLLM was not built for, or a GPU that can no longer be chosen in this process.
    ModelError
        A model that vLLM does not run, with its reason.
    """
    require_vllm()
    os.environ.setdefault(IN_PROCESS, "0")  # a worker may start none; scheduling repeats
    _choose(device)
    vllm: Any = import_module("vllm")
    built_for = str(import_module("vllm.platforms").current_platform.device_type)
    if device.partition(":")[0] != built_for:
        raise ConfigError(
            f"--backend vllm: vLLM {vllm.__version__} here computes on {built_for}, but the device is "
            f"{device}; pass --device {built_for}, or leave --backend out"
        )
    engine = start_engine(resolved.name, resolved.path, dtype, resolved.max_length)
    return VllmModel(resolved, load_tokenizer(resolved.path), device, dtype, engine)


def start_engine(name: str, folder: str, dtype: str, max_length: int | None) -> Engine:
    """Start an engine of vLLM for rows of ``max_length`` tokens; `ModelError` says why it cannot."""
    vllm: Any = import_module("vllm")
    context = {} if max_length is None else {"max_model_len": max_length + OWN_TOKENS}
    try:
        engine: Engine = vllm.LLM(
            model=folder,
            skip_tokenizer_init=True,
            trust_remote_code=False,
            dtype=dtype,
            seed=0,
            gpu_memory_utilization=GPU_MEMORY_UTILIZATION,
            max_num_batched_tokens=STEP_TOKENS,
            enable_chunked_prefill=True,
            enable_prefix_caching=False,  # such requests may not read it
            logprobs_mode="raw_logprobs",
            disable_log_stats=True,
            **context,
        )
    except (ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"vLLM {vllm.__version__} cannot run model {name!r}: {first_line(error)}; score it without "
            "--backend vllm"
        ) from error
    return engine


def _choose(device: str) -> None:
    """Leave only the GPU of a worker visible, as vLLM takes the first that is."""
    number = int(device.partition(":")[2] or 0)
    if number == 0:
        return
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise ConfigError(
            f"--backend vllm takes the first GPU that is visible, and --device {device} is another; type: "
            f"{_VISIBLE}={number} curate ... --device cuda --backend vllm"
        )
    visible = os.environ.get(_VISIBLE)
    os.environ[_VISIBLE] = visible.split(",")[number] if visible else str(number)


@final
@dataclass(slots=True, eq=False)
class VllmForward:
    """Runs batches of rendered rows through vLLM: token ids in, log-probabilities of targets out.

    Numbers agree with those of `Forward` to the rounding of the dtype. Which rows run together is vLLM's
    choice, the same each time for the same batch on one card and one version of it.
    """

    model: VllmModel
    packed: ClassVar[bool] = True
    is_queued: ClassVar[bool] = True
    shared: ClassVar[bool] = False
    n_split: ClassVar[int] = 0

    def run_all(
        self, batches: "Iterable[Sequence[Rendered]]", wants: "PassRequest"
    ) -> "Iterator[tuple[int, int, Measured | None]]":
        """Yield (batch, row, what was measured) over many batches, in order: the likelihood alone.

        Raises `DeviceError` where the memory of the device ends.
        """
        from curate.models.passes.forward import Measured

        assert not wants.pooled and not wants.head.grams, "refused when the scores were requested"
        for number, rows in enumerate(batches):
            for place, (row, nll) in enumerate(zip(rows, self._nll(rows), strict=True)):
                yield number, place, Measured(row, nll, None, None, {}, {})

    def _nll(self, rows: "Sequence[Rendered]") -> "list[Float[np.ndarray, ' T']]":
        """Return the negative log-likelihood of each row's targets, in nats."""
        pieces = [_pieces(row) for row in rows]
        answers = iter(self._answers([piece.prompt for of_row in pieces for piece in of_row]))
        return [
            np.concatenate([piece.nll(next(answers).prompt_logprobs) for piece in of_row])
            for of_row in pieces
        ]

    def _answers(self, prompts: list[list[int]]) -> Sequence[Any]:
        vllm: Any = import_module("vllm")
        asked = vllm.SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False
        )
        try:
            return self.model.engine.generate(
                [vllm.TokensPrompt(prompt_token_ids=ids) for ids in prompts], asked, use_tqdm=False
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"vLLM ran out of memory on {self.model.device} ({first_line(error)}): it keeps the logits of "
                f"{STEP_TOKENS:,} tokens beside the {GPU_MEMORY_UTILIZATION:.0%} of the card that it takes "
                "before; finished shards are kept; free the card, or score without --backend vllm"
            ) from error


@final
@dataclass(frozen=True, slots=True)
class _Piece:
    """What is asked of one row: its tokens up to the last scored one, and where those are."""

    prompt: list[int]
    scored: list[int]

    def nll(self, logprobs: Sequence[Any]) -> "Float[np.ndarray, ' T']":
        """Read vLLM's answer: for each token of the prompt log-probabilities by id, its own among them."""
        if len(logprobs) != len(self.prompt):
            raise ScoreError(
                f"vLLM answered {len(logprobs)} log-probabilities for {len(self.prompt)} tokens; nothing "
                "was stored; score without --backend vllm"
            )
        return np.array([-logprobs[at][self.prompt[at]].logprob for at in self.scored], np.float64)


def _pieces(row: "Rendered") -> list[_Piece]:
    """Return what to ask for each row of an example; a target that is not among its ids ends it."""
    pieces = []
    for start, end in row.edges:
        inside = (row.positions >= start) & (row.positions < end)
        scored = (row.positions[inside] - start + 1).tolist()
        ids = row.ids[start : start + scored[-1]].tolist()
        pieces.append(_Piece([*ids, int(row.targets[inside][-1])], scored))
    return pieces
