"""Texts through a model that returns one number each, in padded batches of similar length."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.contracts import OUT_OF_MEMORY, Example
from curate.errors import ExampleFailure
from curate.models.batch import default_batch_tokens, plan_batches
from curate.models.memory import Limit, pieces_that_fit

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A")
T = TypeVar("T")
Row = Mapping[str, Sequence[int]]  # what a tokenizer makes of one text, by input name

IDS: Final = "input_ids"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One number per text, whether the text was cut, and how many tokens were run, (n,) each."""

    values: Float[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a model says of each text, (n, k); the rest is as in `Answers`."""

    values: Float[np.ndarray, "n k"]
    truncated: Bool[np.ndarray, " n"]
    tokens: Int[np.ndarray, " n"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class TextModel:
    """A loaded model with everything needed to run texts through it.

    Parameters
    ----------
    tokenizer
        Cuts long texts on its own ``truncation_side``.
    device
        The device the model is on.
    run
        Returns (b,) or (b, k) for the padded inputs of a batch, (b, width) each.
    pad
        Returns the id a batch is padded with, on the right; every other input is padded with 0.
    batch_tokens
        Tokens that may run together, including padding; None for the device's default.
    limit
        Tokens a text is cut to, None for no limit.
    memory
        What did not fit in memory so far: batches as large are halved without a try.
    """

    tokenizer: Any
    device: str
    run: "Callable[[Mapping[str, Tensor]], Tensor]"
    pad: Callable[[Sequence[Row]], int]
    batch_tokens: int | None = None
    limit: int | None = None
    memory: Limit = field(default_factory=lambda: Limit(_tokens))

    def answers(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        add_special: bool = True,
    ) -> Answers:
        """Return one number a text: what `outputs` has first of each."""
        made = self.outputs(texts, pairs, add_special=add_special)
        return Answers(made.values[:, 0], made.truncated, made.tokens)

    def outputs(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        add_special: bool = True,
    ) -> Outputs:
        """Tokenise texts, or pairs of texts, with or without special tokens around them; run them.

        On a GPU all batches are queued before the first result is waited for. A batch that does not fit in
        memory is halved until it does; a text that alone exceeds it raises `MemoryError`.
        """
        import torch

        from curate.models.passes.device_batch import sent

        rows, cut = self._encode(texts, pairs, add_special)
        lengths = np.array([len(row[IDS]) for row in rows], dtype=np.int64)
        places = [f"{number:012d}" for number in range(len(rows))]
        budget = self.batch_tokens or default_batch_tokens(self.device)
        batches = plan_batches(lengths, places, budget)
        results: list[tuple[np.ndarray[Any, Any], Callable[[], np.ndarray[Any, Any]] | None]] = []

        def run(chosen: Sequence[Row]) -> "Callable[[], np.ndarray[Any, Any]]":
            outputs = self.run(_padded(chosen, self.pad(chosen), self.device))
            return sent(outputs.reshape(len(chosen), -1).double())

        with torch.inference_mode():
            for batch in batches:
                chosen = [rows[number] for number in batch.tolist()]
                pieces = pieces_that_fit(chosen, run, self.device, limit=self.memory)
                results += [(batch[a : a + len(piece)], arrived) for a, piece, arrived in pieces]
        values = np.full((len(rows), 1), np.nan)
        for number, (whose, arrived) in enumerate(results):
            if arrived is None:
                n = lengths[whose[0]]
                raise MemoryError(f"out of memory: a text of {n} tokens does not fit alone")
            found = arrived()
            if number == 0:  # the first batch says how many there are of each
                values = np.full((len(rows), found.shape[1]), np.nan)
            values[whose] = found
        return Outputs(values, cut, lengths)

    def _encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None, add_special: bool
    ) -> tuple[list[Row], Bool[np.ndarray, " n"]]:
        limit = self.limit
        lists = [list(texts)] if pairs is None else [list(texts), list(pairs)]
        if not lists[0]:
            return [], np.zeros(0, dtype=bool)
        options = {"add_special_tokens": add_special, "verbose": False}
        rows = _rows(self.tokenizer(*lists, **options))
        cut = np.array([limit is not None and len(row[IDS]) > limit for row in rows])
        if cut.any():
            long = np.flatnonzero(cut).tolist()
            again = ([side[n] for n in long] for side in lists)
            shorter = _rows(self.tokenizer(*again, truncation=True, max_length=limit, **options))
            for number, row in zip(long, shorter, strict=True):
                rows[number] = row
        return rows, cut


def make_each(
    examples: Iterable[Example], make: Callable[[Example], T]
) -> tuple[list[T], list[int], list[str | None]]:
    """Apply a function to each example; return the results, the positions that succeeded, and reasons.

    The reason is from the `ExampleFailure` an example raised, None for the others.
    """
    made: list[T] = []
    places: list[int] = []
    reasons: list[str | None] = []
    for place, example in enumerate(examples):
        try:
            made.append(make(example))
        except ExampleFailure as failure:
            reasons.append(failure.reason)
            continue
        places.append(place)
        reasons.append(None)
    return made, places, reasons


def that_fit(
    places: Sequence[int],
    reasons: list[str | None],
    asked: Sequence[T],
    answers: Iterable[A | None],
) -> Iterator[tuple[int, T, A]]:
    """Yield position, question and answer of each example that fitted into memory.

    One without an answer did not, which becomes its reason. ``places`` and ``reasons`` are those of
    `make_each`, and ``asked`` what it made.
    """
    for place, question, answer in zip(places, asked, answers, strict=True):
        if answer is None:
            reasons[place] = OUT_OF_MEMORY
        else:
            yield place, question, answer


def list_column(
    examples: Sequence[Example], make: Callable[[Example], Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Make one list of each example; return the column of them, None for a failure, and the reasons."""
    made, places, reasons = make_each(examples, make)
    column = object_column([None] * len(examples))
    for place, values in zip(places, made, strict=True):
        column[place] = values
    return column, object_column(reasons)


def object_column(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return a column of texts, or of lists of any lengths, one entry per value."""
    column = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        column[number] = value
    return column


def _rows(encoded: Mapping[str, Sequence[Sequence[int]]]) -> list[Row]:
    names = list(encoded)
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(encoded[name] for name in names), strict=True)
    ]


def _tokens(rows: Sequence[Row]) -> int:
    return len(rows) * max(len(row[IDS]) for row in rows)


def _padded(rows: Sequence[Row], pad: int, device: str) -> dict[str, "Tensor"]:
    """Return the inputs of some texts, (rows, width) each, in one copy to the device."""
    from curate.models.passes.device_batch import to_device

    lengths = [len(row[IDS]) for row in rows]
    names = list(rows[0])
    values = np.zeros((len(names), len(rows), max(lengths)), dtype=np.int64)
    values[names.index(IDS)] = pad
    own = np.arange(values.shape[2]) < np.array(lengths)[:, None]
    for number, name in enumerate(names):
        values[number][own] = np.concatenate([row[name] for row in rows])
    return dict(zip(names, to_device(values, device), strict=True))
