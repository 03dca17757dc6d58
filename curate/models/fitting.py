"""How many tokens fit on a card at once: tried with the largest batch that a model may be given."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from curate.contracts.segments import POOLED
from curate.models.batch import CUDA_BATCH_TOKENS
from curate.models.memory import is_out_of_memory
from curate.models.passes.prefixes import MOST_ROWS
from curate.models.room import cards_of
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from curate.models.load import LoadedModel

LEAST: Final = 1_024
LADDER: Final = tuple(
    size
    for power in range(LEAST.bit_length() - 1, CUDA_BATCH_TOKENS.bit_length())
    for size in (1 << power, 3 << power - 1)
    if size <= CUDA_BATCH_TOKENS
)  # 1,024, 1,536, 2,048 ... and no more than from where on speed no longer rises
SPARE: Final = 0.1  # of the card's free memory, left for what batches of other shapes need
LONGEST: Final = 2_048  # tokens of a made-up row
SCORED: Final = 8  # one token in so many is scored: enough to fill the chunks of the head
COMMON: Final = 255  # tokens that made-up rows of a prefix tree begin with


def largest_that_fits(fits: Callable[[int], bool]) -> int:
    """Return the largest budget of `LADDER` that fits, at least its smallest, in O(log n) tries.

    The largest is tried first, so that a card with room for it is asked once.
    """
    if fits(LADDER[-1]):
        return LADDER[-1]
    low, high = 0, len(LADDER) - 1  # the smallest is taken as it is: batches are halved further
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(LADDER[middle]) else (low, middle)
    return LADDER[low]


def below(tokens: int) -> int:
    """Return the largest budget of `LADDER` that is below a number of tokens, at least its smallest."""
    return max((size for size in LADDER if size < tokens), default=LEAST)


def fits_on_card(model: "LoadedModel", tokens: int, *, packed: bool, shared: bool) -> bool:
    """Return whether a batch of that many tokens runs on the model's card and leaves `SPARE`.

    Runs one batch, of which everything is measured that a scorer can ask for.
    """
    import torch

    from curate.models.passes.device_batch import BatchWants, launch
    from curate.models.passes.head import HeadWants

    rows = largest_rows(tokens, len(model.head.weight), model.resolved.max_length, shared=shared)
    wants = BatchWants(HeadWants(entropy=True, grams=frozenset({True, False})), POOLED)

    def run() -> None:
        with torch.inference_mode():
            launch(model, rows, wants, packed=packed or shared, shared=shared).wait()

    return leaves_room(run, model.place)


def leaves_room(run: Callable[[], object], device: str, more: int = 0) -> bool:
    """Return whether something runs on a GPU, or several, and leaves `SPARE` of the free memory of each.

    Parameters
    ----------
    more
        Bytes that will be needed beside what it takes.
    """
    import torch

    torch.cuda.empty_cache()
    cards = cards_of(device)
    for card in cards:
        torch.cuda.reset_peak_memory_stats(card)
    held = [torch.cuda.memory_reserved(card) for card in cards]
    free = [torch.cuda.mem_get_info(card)[0] for card in cards]
    done = _runs(run)
    used = [torch.cuda.max_memory_reserved(card) for card in cards]
    torch.cuda.empty_cache()
    for card in cards:  # what was only tried is no peak of the run that follows
        torch.cuda.reset_peak_memory_stats(card)
    return done and all(
        peak - before + more <= (1 - SPARE) * there
        for peak, before, there in zip(used, held, free, strict=True)
    )


def _runs(run: Callable[[], object]) -> bool:
    try:
        run()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def largest_rows(
    tokens: int, vocabulary: int, max_length: int | None, *, shared: bool
) -> list[Rendered]:
    """Return made-up rows that fill a batch of that many tokens, as long as the model reads.

    With ``shared`` they are a prefix tree of as many tokens, of which `MOST_ROWS` rows each go on from
    what they begin with, as batches hold at most.
    """
    longest = max(2, min(tokens, LONGEST, max_length or LONGEST))
    rng = np.random.default_rng(0)

    def ids(n: int) -> np.ndarray:
        made: np.ndarray = rng.integers(0, vocabulary, n)
        return made

    rows: list[np.ndarray] = []
    left = tokens
    while left > 0:
        if not shared:
            rows.append(ids(max(2, min(longest, left))))
            left -= len(rows[-1])
            continue
        begin = ids(max(1, min(COMMON, longest - 1, left - MOST_ROWS)))
        rows += [np.append(begin, ids(1)) for _ in range(MOST_ROWS)]
        left -= len(begin) + MOST_ROWS
    return [_rendered(row) for row in rows]


def _rendered(ids: np.ndarray) -> Rendered:
    n = max(1, (len(ids) - 1) // SCORED)
    positions = np.arange(len(ids) - 1 - n, len(ids) - 1, dtype=np.int32)
    ids = ids.astype(np.int32)
    return Rendered(ids, positions, ids[positions + 1], np.zeros(n, bool), False, n)
