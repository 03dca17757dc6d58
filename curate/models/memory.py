"""Batches that do not fit in memory, run in halves until they do, and errors of the device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

Row = TypeVar("Row")
T = TypeVar("T")


@final
@dataclass(slots=True, eq=False)
class Limit:
    """The smallest batch that did not fit: others as large are halved without a try.

    Parameters
    ----------
    size
        Of some rows, at least 1.
    too_many
        Size that is known not to fit; None if everything did so far.
    on_change
        Called with each smaller size that turns out not to fit.
    """

    size: Callable[[Sequence[Any]], int]
    too_many: int | None = None
    on_change: Callable[[int], None] = lambda size: None

    def refuses(self, rows: Sequence[Any]) -> bool:
        """Return whether rows, more than one, are known not to fit."""
        return self.too_many is not None and len(rows) > 1 and self.size(rows) >= self.too_many

    def failed(self, rows: Sequence[Any]) -> None:
        """Remember that some rows, more than one, did not fit."""
        size = self.size(rows)
        if self.too_many is None or size < self.too_many:
            self.too_many = size
            self.on_change(size)


def run_in_halves(
    rows: Sequence[Row],
    run: Callable[[Sequence[Row]], Sequence[T]],
    device: str,
    on_split: Callable[[], None] = lambda: None,
    limit: Limit | None = None,
) -> Iterator[tuple[int, T | None]]:
    """Run rows as one batch, or in halves of halves where memory runs out.

    Yields (place in ``rows``, result) in order; None for a row that alone exceeds the memory.
    ``run`` returns one result a row; the rest is as for `pieces_that_fit`.
    """
    for start, _, results in pieces_that_fit(rows, run, device, on_split, limit):
        if results is None:
            yield start, None
        else:
            yield from enumerate(results, start)


def pieces_that_fit(
    rows: Sequence[Row],
    run: Callable[[Sequence[Row]], T],
    device: str,
    on_split: Callable[[], None] = lambda: None,
    limit: Limit | None = None,
) -> Iterator[tuple[int, Sequence[Row], T | None]]:
    """Yield (place of the first row, rows, what ``run`` returned) of the largest pieces that fit.

    Parameters
    ----------
    run
        Takes some of the rows; any error but "out of memory" is passed on. A row that alone exceeds
        the memory is a piece of its own, with None.
    device
        Where it runs; on CUDA the cache of freed blocks is emptied before the next try.
    on_split
        Called once if the whole did not fit and has more than one row.
    limit
        What is known not to fit, which is not tried; it learns what does not.
    """
    pending = [(0, len(rows))]
    while pending:
        start, stop = pending.pop()
        piece = rows[start:stop]
        result = None
        if limit is None or not limit.refuses(piece):
            result = _attempt(piece, run, device)
            if result is None and limit is not None and len(piece) > 1:
                limit.failed(piece)
        if result is None and stop - start > 1:
            if stop - start == len(rows):
                on_split()
            middle = (start + stop) // 2
            pending += [(middle, stop), (start, middle)]
        else:
            yield start, piece, result


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on the GPU or the CPU."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )


def is_device_error(error: BaseException) -> bool:
    """Return whether an error is one of the GPU, after which every later call on it fails too.

    Not a lack of memory, after which the GPU works as before.
    """
    if is_out_of_memory(error):
        return False
    import torch

    kind = getattr(torch, "AcceleratorError", None)  # torch 2.8 and later
    lost = kind is not None and isinstance(error, kind)
    text = str(error)
    return lost or "CUDA error" in text or "CUBLAS_STATUS" in text or "cuDNN error" in text


def _attempt(rows: Sequence[Row], run: Callable[[Sequence[Row]], T], device: str) -> T | None:
    try:
        return run(rows)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # After the handler, so that the error's traceback no longer holds the batch's tensors.
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
    return None
