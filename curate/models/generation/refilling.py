"""Answers to many prompts on a GPU: rows that are finished make room for the next prompts."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import torch
from torch import Tensor

from curate.models.generation.gumbel import gumbel_argmax, sample_key
from curate.models.memory import is_out_of_memory
from curate.models.passes.device_batch import to_host

if TYPE_CHECKING:
    from curate.models.generation.decoding import Decoder, Sampling

STEPS: Final = 8  # tokens drawn between two looks at which rows are finished
REFILL_BELOW: Final = 0.5  # share of the most rows so far


@final
@dataclass(slots=True, eq=False)
class _Answer:
    """An answer that is being drawn: of which prompt and which sample, and its tokens so far."""

    prompt: int
    sample: int
    length: int  # of the prompt
    cap: int
    tokens: list[int]


@final
@dataclass(slots=True, eq=False)
class _Rows:
    """Answers that run together: their cache, padded on the left, and what draws their next tokens.

    ``mask`` is (rows, width) as the cache is wide, ``keys`` and ``steps`` are (rows,), ``logits``
    (rows, V) of the next token.
    """

    answers: list[_Answer]
    cache: Any
    mask: Tensor
    keys: Tensor
    steps: Tensor
    logits: Tensor


def draw_refilled(
    decoder: "Decoder",
    prompts: Sequence[Sequence[int]],
    ids: Sequence[str],
    drawing: "Sampling",
    budget: int,
) -> dict[int, list[list[int]]]:
    """Return the tokens of ``k`` answers to each prompt, by place; those it could not draw are left out.

    What `Decoder.draw` draws, up to rounding of the logits. Rows are looked at every `STEPS` tokens alone,
    so that Python waits for the GPU once for all of them. It stops where memory runs out, or at once for a
    cache that it cannot join, such as one of sliding windows.

    Parameters
    ----------
    budget
        Tokens that may be in the cache at once.
    """
    order = sorted(range(len(prompts)), key=lambda n: (-len(prompts[n]), ids[n]))
    waiting = deque(order)
    drawn: dict[int, list[list[int]]] = {}
    rows: _Rows | None = None
    most = 0
    try:
        with torch.inference_mode():
            while waiting or rows is not None:
                if rows is None or len(rows.answers) <= REFILL_BELOW * most:
                    chosen = _next(waiting, rows, prompts, drawing, budget)
                    if chosen:
                        started = _start(decoder, chosen, prompts, ids, drawing)
                        if not _can_join(started.cache):
                            return drawn
                        rows = started if rows is None else _joined(rows, started)
                        most = max(most, len(rows.answers))
                assert rows is not None
                rows = _advance(decoder, rows, drawing, drawn)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    return {n: answers for n, answers in drawn.items() if all(answers)}


def _next(
    waiting: "deque[int]",
    rows: _Rows | None,
    prompts: Sequence[Sequence[int]],
    drawing: "Sampling",
    budget: int,
) -> list[int]:
    """Take the next prompts whose answers fit beside those that are being drawn, at least one if none are."""
    alive = 0 if rows is None else len(rows.answers)
    longest = 0 if rows is None else max(answer.length for answer in rows.answers)
    chosen: list[int] = []
    while waiting:
        longest = max(longest, len(prompts[waiting[0]]))
        n = alive + (len(chosen) + 1) * drawing.k
        if (alive or chosen) and n * (longest + drawing.max_new_tokens) > budget:
            break
        chosen.append(waiting.popleft())
    return chosen


def _start(
    decoder: "Decoder",
    chosen: Sequence[int],
    prompts: Sequence[Sequence[int]],
    ids: Sequence[str],
    drawing: "Sampling",
) -> _Rows:
    k = drawing.k
    hidden, cache, mask = decoder.prefill([prompts[n] for n in chosen])
    cache.batch_repeat_interleave(k)
    answers = [
        _Answer(n, sample, len(prompts[n]), decoder.cap(len(prompts[n]), drawing), [])
        for n in chosen
        for sample in range(k)
    ]
    keys = [sample_key(drawing.seed, ids[one.prompt], one.sample) for one in answers]
    return _Rows(
        answers=answers,
        cache=cache,
        mask=mask.repeat_interleave(k, 0),
        keys=torch.tensor(keys, dtype=torch.int64, device=mask.device),
        steps=torch.zeros(len(answers), dtype=torch.int64, device=mask.device),
        logits=decoder.logits(hidden[:, -1]).repeat_interleave(k, 0),
    )


def _advance(
    decoder: "Decoder", rows: _Rows, drawing: "Sampling", drawn: dict[int, list[list[int]]]
) -> _Rows | None:
    """Draw a few tokens of every row; return the rows that go on, None if all are finished."""
    n = min(STEPS, *(answer.cap - len(answer.tokens) for answer in rows.answers))
    tokens = []
    for number in range(n):
        tokens.append(gumbel_argmax(rows.logits, rows.keys, rows.steps, drawing.temperature))
        rows.steps = rows.steps + 1
        if number + 1 < n:
            _feed(decoder, rows, tokens[-1])
    going = []
    for place, (answer, new) in enumerate(
        zip(rows.answers, to_host(torch.stack(tokens, 1)).tolist(), strict=True)
    ):
        end = next((i for i, token in enumerate(new) if token in decoder.ends), None)
        answer.tokens += new if end is None else new[: end + 1]
        if end is None and len(answer.tokens) < answer.cap:
            going.append(place)
        else:
            drawn.setdefault(answer.prompt, [[] for _ in range(drawing.k)])
            drawn[answer.prompt][answer.sample] = answer.tokens
    if not going:
        return None
    last = tokens[-1]
    if len(going) < len(rows.answers):
        kept = torch.tensor(going, dtype=torch.int64, device=last.device)
        last = last.index_select(0, kept)
        rows = _kept(rows, going, kept)
    _feed(decoder, rows, last)
    return rows


def _feed(decoder: "Decoder", rows: _Rows, chosen: Tensor) -> None:
    rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(rows.mask), 1)], 1)
    hidden, rows.cache = decoder.run(chosen[:, None], rows.mask, rows.cache)
    rows.logits = decoder.logits(hidden[:, -1])


def _kept(rows: _Rows, going: Sequence[int], kept: Tensor) -> _Rows:
    """Return some of the rows, no wider than the longest of them needs."""
    answers = [rows.answers[place] for place in going]
    rows.cache.batch_select_indices(kept)
    used = max(
        answer.length + len(answer.tokens) - 1 for answer in answers
    )  # the last is not fed yet
    cut = rows.mask.shape[1] - used
    for layer in rows.cache.layers:
        layer.keys, layer.values = layer.keys[:, :, cut:], layer.values[:, :, cut:]
    return _Rows(
        answers,
        rows.cache,
        rows.mask.index_select(0, kept)[:, cut:],
        rows.keys.index_select(0, kept),
        rows.steps.index_select(0, kept),
        rows.logits.index_select(0, kept),
    )


def _joined(one: _Rows, two: _Rows) -> _Rows:
    """Return the rows of both, the narrower ones padded on the left."""
    width = max(one.mask.shape[1], two.mask.shape[1])

    def padded(tensor: Tensor, dim: int) -> Tensor:
        shape = list(tensor.shape)
        shape[dim] = width - shape[dim]
        return torch.cat([tensor.new_zeros(shape), tensor], dim)

    for mine, theirs in zip(one.cache.layers, two.cache.layers, strict=True):
        mine.keys = torch.cat([padded(mine.keys, 2), padded(theirs.keys, 2)])
        mine.values = torch.cat([padded(mine.values, 2), padded(theirs.values, 2)])
    return _Rows(
        [*one.answers, *two.answers],
        one.cache,
        torch.cat([padded(one.mask, 1), padded(two.mask, 1)]),
        torch.cat([one.keys, two.keys]),
        torch.cat([one.steps, two.steps]),
        torch.cat([one.logits, two.logits]),
    )


def _can_join(cache: Any) -> bool:
    """Whether every layer keeps all tokens of a row and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None]))
