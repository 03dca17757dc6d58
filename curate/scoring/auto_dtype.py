"""The dtype of ``--dtype auto``: on a CPU what the store has of the model, or what is faster there by far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import ForwardScorer, Scorer
from curate.contracts.display import listed
from curate.contracts.libraries import versions_of
from curate.contracts.progress import Progress
from curate.models.load import ResolvedModel
from curate.models.machine import free_bytes, has_bfloat16, processor
from curate.models.room import DTYPE_BYTES
from curate.models.speedup import bfloat16_speedup
from curate.scoring.backends import AUTO
from curate.scoring.executors import RAY
from curate.scoring.options import ScoringOptions
from curate.store.records import ScoreKey, digest

if TYPE_CHECKING:
    from curate.scoring.requests import ScoreRequest
    from curate.store import ScoreSetStatus, Store

FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
SMALLEST: Final = 50_000_000  # parameters: the pass of a smaller model is not worth a measurement
MARGIN: Final = 1.3  # times as fast as float32, to be worth the rounding
FOLDER: Final = "dtypes"
_SPEEDUP: Final = "speedup"


@final
@dataclass(frozen=True, slots=True)
class Chosen:
    """A dtype, and why ``auto`` chose it, in words; empty where nothing had to be found out."""

    dtype: str
    why: str = ""


def choose_dtype(
    store: "Store | None",
    scorer: Scorer,
    model: ResolvedModel,
    options: ScoringOptions,
    key_of: Callable[[str], ScoreKey],
) -> Chosen:
    """Return the dtype a scorer runs its model in.

    Something has to be found out for ``auto`` alone, in a pass of a language model of 50 million
    parameters or more on a CPU, and where no other machine scores the same sets. Then scores in the
    store decide, so that a command means the same when it is repeated: those of the same key but for the
    dtype first, else the newest of the model. Else bfloat16 is measured if the processor has it, and
    taken if it is 1.3 times as fast as float32. The measurement is remembered in the user's cache.

    Parameters
    ----------
    key_of
        The key of the score set, by dtype.
    """
    plain = options.worker_dtype()
    if not _is_open(scorer, model, options, plain):
        return Chosen(plain)
    known = None if store is None else _stored(store, model, key_of)
    if known is not None:
        is_usual = known == FLOAT32 and not has_bfloat16()
        return Chosen(known, "" if is_usual else "in which the store has scores of this model")
    if not options.measures or not has_bfloat16() or not _has_room(model):
        return Chosen(plain)
    speedup = _speedup(model)
    if speedup < MARGIN:
        return Chosen(
            FLOAT32, f"as bfloat16 was measured to be only {speedup:.1f} times as fast here"
        )
    words = f"measured to be {speedup:.1f} times as fast as float32 here"
    return Chosen(BFLOAT16, f"{words}; --dtype float32 for more digits")


def tell_dtypes(requests: "Sequence[ScoreRequest]", progress: Progress) -> None:
    """Say which dtype ``auto`` chose and why, once for all score sets that it is the same of."""
    alike: dict[tuple[str, str], list[str]] = {}
    for request in requests:
        if request.dtype_why:
            alike.setdefault((request.dtype, request.dtype_why), []).append(request.alias)
    for (dtype, why), aliases in alike.items():
        progress.note(f"{listed(aliases)}: {dtype}, {why}")


def _is_open(scorer: Scorer, model: ResolvedModel, options: ScoringOptions, plain: str) -> bool:
    return (
        options.dtype == "auto"
        and plain == FLOAT32
        and options.executor != RAY
        and options.backend == AUTO
        and options.worker_device(runs_weights=True) == "cpu"
        and isinstance(scorer, ForwardScorer)
        and scorer.reads_weights
        and (model.n_parameters or 0) >= SMALLEST
    )


def _stored(store: "Store", model: ResolvedModel, key_of: Callable[[str], ScoreKey]) -> str | None:
    """Return the dtype of scores that are there or were begun."""
    statuses = {status.set_id: status for status in store.score_sets()}
    own = {dtype: statuses.get(key_of(dtype).set_id) for dtype in (FLOAT32, BFLOAT16)}
    begun = [dtype for dtype, status in own.items() if status is not None]
    complete = [dtype for dtype in begun if (found := own[dtype]) and found.complete]
    of_model = [dtype for status in statuses.values() if (dtype := _dtype_of(status, model))]
    return next(iter([*complete, *begun, *reversed(of_model)]), None)


def _dtype_of(status: "ScoreSetStatus", model: ResolvedModel) -> str | None:
    """Return the dtype of a score set if it is one of this model, and one that ``auto`` may choose."""
    key: Mapping[str, Any] = status.spec.get("key") or {}
    of = key.get("model") or {}
    same = (of.get("fingerprint"), of.get("adapter")) == (
        model.fingerprint,
        model.adapter_fingerprint,
    )
    dtype = key.get("dtype")
    return str(dtype) if same and dtype in (FLOAT32, BFLOAT16) else None


def _has_room(model: ResolvedModel) -> bool:
    free = free_bytes()
    return free is None or (model.n_parameters or 0) * DTYPE_BYTES[FLOAT32] < free / 2


def _speedup(model: ResolvedModel) -> float:
    """Return what was measured of models of this shape on this processor, or measure and remember it."""
    from curate.store.remembered import Remembered

    config = Path(model.path, "config.json").read_text(encoding="utf-8")
    remembered = Remembered.of(
        FOLDER,
        {
            "config": digest(config),
            "processor": processor(),
            "libraries": versions_of(("torch", "transformers")),
        },
    )
    speedup = remembered.known().get(_SPEEDUP)
    if not isinstance(speedup, int | float):
        speedup = round(bfloat16_speedup(model), 3)
        remembered.add({_SPEEDUP: speedup})
    return float(speedup)
