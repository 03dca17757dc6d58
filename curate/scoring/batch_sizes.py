"""What this machine remembers of how many tokens of a model fit on a card at once."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts.libraries import versions_of
from curate.errors import StoreError
from curate.models.fitting import LEAST, below
from curate.store.cache import cache_folder
from curate.store.parts import read_json, write_json
from curate.store.records import canonical_json, digest

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel

FOLDER: Final = "batch-sizes"
_LIBRARIES: Final = ("torch", "transformers", "triton", "kernels")
_GIB: Final = 2**30
_FITS: Final = "fits"
_TOO_MANY: Final = "too_many"
_BY_OTHERS: Final = 4


@final
@dataclass(frozen=True, slots=True)
class BatchSizes:
    """What is known of a model on a card, in a file of the user's cache; remove it to measure again.

    Parameters
    ----------
    path
        The file, which need not exist.
    about
        What its name is made of: the model's configuration, the dtype, the card, and libraries.
    """

    path: Path
    about: dict[str, Any]

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
        name = f"{digest(canonical_json(about), 8)}.json"
        return cls(cache_folder() / FOLDER / name, about)

    @property
    def tokens(self) -> int | None:
        """Budget that new score sets take; None if nothing was measured."""
        known = self._known()
        if _FITS not in known:
            return None
        fits, too_many = int(known[_FITS]), known.get(_TOO_MANY)
        return fits if too_many is None else min(fits, below(int(too_many)))

    def too_many(self, kind: str) -> int | None:
        """Return the tokens of a batch that did not fit; ``kind`` is how its rows lay."""
        found = self._known().get(f"{_TOO_MANY}{kind}")
        return None if found is None else int(found)

    def measured(self, tokens: int) -> None:
        """Remember what fits."""
        self._write({_FITS: tokens})

    def failed(self, kind: str, tokens: int) -> None:
        """Remember a batch that did not fit, if it is the smallest so far.

        Not one far below what was measured, which only another process can have kept from fitting.
        """
        before, fits = self.too_many(kind), self._known().get(_FITS, LEAST)
        if _BY_OTHERS * tokens >= fits and (before is None or tokens < before):
            self._write({f"{_TOO_MANY}{kind}": tokens})

    def _known(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = read_json(self.path)
        except (OSError, ValueError):  # none yet, or damaged: it is measured again
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, more: dict[str, Any]) -> None:
        try:
            write_json(self.path, {**self._known(), **more, "of": self.about})
        except (OSError, StoreError):  # a full disk is the latter
            return  # a cache that cannot be written only costs another measurement


@cache
def card_of(device: str) -> str:
    """Return the name and memory of a CUDA device."""
    import torch

    found = torch.cuda.get_device_properties(torch.device(device))
    return f"{found.name} ({found.total_memory / _GIB:.1f} GiB)"
