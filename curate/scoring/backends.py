"""What runs the passes of language models: our own forward pass, or vLLM where it is asked for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from curate.contracts import ForwardScorer, Scorer, Stat
from curate.errors import ConfigError
from curate.models.load import ResolvedModel
from curate.models.passes.vllm_forward import CALL_TOKENS, OWN_TOKENS, require_vllm
from curate.registry import build, get_scorer, names

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions

AUTO: Final = "auto"  # our own pass, whatever is installed
VLLM: Final = "vllm"
BACKENDS: Final = (AUTO, VLLM)
_MEASURED: Final = frozenset({Stat.NLL})


def check_backend(options: "ScoringOptions") -> None:
    """Raise `ConfigError` for options that cannot go together with a backend, or where it is missing."""
    if options.backend not in BACKENDS:
        raise ConfigError(f"--backend is {' or '.join(BACKENDS)}, got {options.backend!r}")
    if options.backend == AUTO:
        return
    if options.adapter is not None:
        raise ConfigError(
            f"--backend vllm loads no adapter, got --adapter {options.adapter}; merge it into the model "
            "(merge_and_unload() of peft) and pass the folder with --model, or leave --backend out"
        )
    if options.dtype == "float64":
        raise ConfigError(
            "--backend vllm computes in float32 or bfloat16, got --dtype float64; leave one of them out"
        )
    if options.executor != "local":
        raise ConfigError(
            f"--backend vllm runs on the GPUs of this machine, got --executor {options.executor}; leave one of "
            "them out"
        )
    require_vllm()


def backend_for(scorer: Scorer, *, runs_weights: bool, asked: str) -> str | None:
    """Return the backend that is part of a score's key: None for our own pass and where no model runs.

    Raises `ConfigError` for a scorer that reads more than log-probabilities.
    """
    if asked == AUTO or not runs_weights:
        return None
    if isinstance(scorer, ForwardScorer) and scorer.emits - scorer.optional <= _MEASURED:
        return asked
    reads = "runs a model in another way"
    if isinstance(scorer, ForwardScorer):
        lacking = sorted(stat.value for stat in scorer.emits - scorer.optional - _MEASURED)
        reads = f"reads {', '.join(lacking)}"
    raise ConfigError(
        f"--backend vllm gives log-probabilities alone, and scorer {scorer.name!r} {reads}; it can run "
        f"{', '.join(_possible())}: score {scorer.name} without --backend"
    )


def refuse_recorded(scorer: str, backend: str) -> None:
    """Raise `ConfigError` where vLLM is to run a scorer that is measured while a model is trained."""
    if backend != AUTO:
        raise ConfigError(
            f"--backend vllm trains nothing, and scorer {scorer!r} is measured while its model is trained; "
            f"score {scorer} without --backend"
        )


def with_room(model: ResolvedModel, backend: str | None) -> ResolvedModel:
    """Return a model as rows are cut for it: vLLM takes a little of its context for itself."""
    if backend is None or model.max_length is None:
        return model
    return replace(model, max_length=model.max_length - OWN_TOKENS)


def tokens_at_once(backend: str | None, default: int) -> int:
    """Return the tokens of a batch where nobody says: vLLM cuts what it is given into its own."""
    return default if backend is None else CALL_TOKENS


def refuse_several(passes: Sequence[str]) -> None:
    """Raise `ConfigError` for more than one pass of vLLM, each described: an engine fills its card."""
    if len(passes) > 1:
        raise ConfigError(
            f"--backend vllm runs one pass at a time, and these scorers make {len(passes)}: "
            f"{'; '.join(passes)}; add --template chat, or score them one by one"
        )


def _possible() -> list[str]:
    """Return the names of the scorers vLLM can run, as they are by default."""
    made = (
        build(cls, {}) for cls in map(get_scorer, names("scorer")) if issubclass(cls, ForwardScorer)
    )
    return sorted(s.name for s in made if s.emits - s.optional <= _MEASURED)
