"""What this machine remembers of how many tokens of a model fit on a card at once."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from curate.contracts.libraries import versions_of
from curate.models.fitting import LEAST, below
from curate.models.room import GIB, card_bytes, cards_of
from curate.store.records import digest
from curate.store.remembered import Remembered

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel

FOLDER: Final = "batch-sizes"
_LIBRARIES: Final = ("torch", "transformers", "triton", "kernels")
_FITS: Final = "fits"
_TOO_MANY: Final = "too_many"
_BY_OTHERS: Final = 4


@final
@dataclass(frozen=True, slots=True)
class BatchSizes:
    """What is known of a model's configuration in a dtype on a card, with these libraries."""

    remembered: Remembered

    @classmethod
    def of(cls, model: "ResolvedModel", dtype: str, device: str) -> "BatchSizes | None":
        """Return what is known of a model on a CUDA device; None for a model without files."""
        config = Path(model.path) / "config.json"
        if not model.path or not config.is_file():
            return None
        about = {
            "config": digest(config.read_text(encoding="utf-8")),
            "dtype": dtype,
            "card": card_of(device),
            "libraries": versions_of(_LIBRARIES),
        }
        return cls(Remembered.of(FOLDER, about))

    @property
    def tokens(self) -> int | None:
        """Budget that new score sets take; None if nothing was measured."""
        known = self.remembered.known()
        if _FITS not in known:
            return None
        fits, too_many = int(known[_FITS]), known.get(_TOO_MANY)
        return fits if too_many is None else min(fits, below(int(too_many)))

    def too_many(self, kind: str) -> int | None:
        """Return the tokens of a batch that did not fit; ``kind`` is how its rows lay."""
        found = self.remembered.known().get(f"{_TOO_MANY}{kind}")
        return None if found is None else int(found)

    def measured(self, tokens: int) -> None:
        """Remember what fits."""
        self.remembered.add({_FITS: tokens})

    def failed(self, kind: str, tokens: int) -> None:
        """Remember a batch that did not fit, if it is the smallest so far.

        Not one far below what was measured, which only another process can have kept from fitting.
        """
        before, fits = self.too_many(kind), self.remembered.known().get(_FITS, LEAST)
        if _BY_OTHERS * tokens >= fits and (before is None or tokens < before):
            self.remembered.add({f"{_TOO_MANY}{kind}": tokens})


@cache
def card_of(device: str) -> str:
    """Return the name and memory of a CUDA device, of the first of several with their number."""
    first, *others = cards_of(device)
    name, n_bytes = card_bytes(first)
    several = f"{1 + len(others)} x " if others else ""
    return f"{several}{name} ({n_bytes / GIB:.1f} GiB)"
