"""Tokens of a batch by a card's memory: measured once for each model and card, before its first score set."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from curate.contracts import ForwardScorer
from curate.contracts.progress import Progress
from curate.errors import CurateError, DeviceError
from curate.models.fitting import fits_on_card, largest_that_fits
from curate.models.load import load_model
from curate.models.memory import is_device_error, is_out_of_memory
from curate.models.room import card_bytes, cards_of
from curate.scoring.batch_sizes import BatchSizes, card_of
from curate.scoring.batching import Batching
from curate.scoring.cards import Weights, deal
from curate.scoring.executors import RAY
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import ScoreRequest

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel
    from curate.store import Store


def with_batch_sizes(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    progress: Progress,
    *,
    measure: bool = True,
) -> list[ScoreRequest]:
    """Return the requests, those of new score sets on a GPU with the tokens a batch that fit there.

    Passes of language models alone, where nobody gave ``--batch-tokens``; on a CPU, on Ray and for
    score sets that exist nothing changes, so that a resumed run cuts the batches of its first.
    What is not remembered is measured with ``measure``: the model is loaded once for it.
    """
    device = _device(requests, options, refuses=measure)
    if device is None:
        return list(requests)
    sized = []
    for request in requests:
        known = _sizes(request, device)
        is_new = known is not None and store.find_score_set(request.key.set_id) is None
        if known is not None and is_new:
            tokens = known.tokens
            if tokens is None and measure:
                tokens = _measure(request, device, known, progress)
            request = replace(request, batch_tokens=tokens or request.batch_tokens)
        sized.append(request)
    return sized


def origins_of(
    store: "Store", requests: Sequence[ScoreRequest], options: ScoringOptions
) -> dict[str, str]:
    """Say where the tokens of new sets' batches come from, by set id; empty where they are a constant."""
    device = _device(requests, options, refuses=False)
    return {
        request.key.set_id: "" if device is None else _origin(store, request, device)
        for request in requests
    }


def _origin(store: "Store", request: ScoreRequest, device: str) -> str:
    known = _sizes(request, device)
    if known is None or store.find_score_set(request.key.set_id) is not None:
        return ""
    when = " before the first run" if known.tokens is None else ""
    return f"measured on {card_of(device)}{when}"


def _device(
    requests: Sequence[ScoreRequest], options: ScoringOptions, *, refuses: bool
) -> str | None:
    """Return what a worker gets with the least memory, a card or several; None where nothing is measured.

    Where weights do not fit, that is None too, or with ``refuses`` a `DeviceError`.
    """
    forward = [request for request in requests if _is_forward(request)]
    if not forward or options.batch_tokens is not None or options.executor == RAY:
        return None
    device = options.worker_device(runs_weights=True)
    if not device.startswith("cuda"):
        return None
    weights = [
        Weights(request.model, request.dtype)
        for request in forward
        if request.model is not None and request.model.n_parameters
    ]
    dealt = deal(weights, device, options.cards_per_worker)
    if dealt.refusal and not refuses:
        return None
    return min(
        dealt.devices(dealt.n_workers),
        key=lambda each: min(card_bytes(card)[1] for card in cards_of(each)),
    )


def _is_forward(request: ScoreRequest) -> bool:
    is_own = request.key.backend is None
    return is_own and request.model is not None and isinstance(request.scorer, ForwardScorer)


def _sizes(request: ScoreRequest, device: str) -> BatchSizes | None:
    if request.model is None or not _is_forward(request):
        return None
    return BatchSizes.of(request.model, request.dtype, device)


def _measure(
    request: ScoreRequest, device: str, known: BatchSizes, progress: Progress
) -> int | None:
    """Return the tokens that fit, and remember them; None where the model cannot run what is tried."""
    import torch

    assert request.model is not None
    name, card = request.model.name, card_of(device)
    progress.note(f"measuring how many tokens of {name} fit on {card}")
    tokens = None
    try:
        tokens = _most_tokens(request, request.model, device)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, CurateError) or is_device_error(error):
            raise
        if is_out_of_memory(error):
            raise DeviceError(
                f"model {name!r} does not fit in what is free on {card}; free memory there, or give a "
                "smaller model, then run the same command again"
            ) from error
        progress.note(
            f"that cannot be measured ({str(error).splitlines()[0]}); batches have {request.batch_tokens:,} "
            "tokens, and are halved where they do not fit"
        )
    gc.collect()  # after the handler, whose traceback held the model: workers get all of the card
    torch.cuda.empty_cache()
    if tokens is None:
        return None
    known.measured(tokens)
    progress.note(f"batches have {tokens:,} tokens; this is remembered for the model on this card")
    return tokens


def _most_tokens(request: ScoreRequest, resolved: "ResolvedModel", device: str) -> int:
    """Load the model for this alone, and return the tokens of a batch that fit beside it."""
    model = load_model(resolved, device, request.dtype)
    batching = Batching(model, request.batch_tokens, share=request.share_prefixes)
    packed = batching.forward.packed
    shared = request.share_prefixes and not batching.unshared_because
    return largest_that_fits(lambda size: fits_on_card(model, size, packed=packed, shared=shared))
