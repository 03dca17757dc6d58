"""Documents that leave this machine: without the paths of its folders."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

# What a selection was chosen by, as it was typed: no paths, and read again word for word.
_TYPED: Final = ("where", "include", "exclude", "quota", "mix", "within", "without")


@final
class Portable:
    """Writes paths as they are from the folder of a document, or by their bare names.

    Parameters
    ----------
    folder
        Where the document lies; None for one whose place is not known.
    others
        Folders that the user works in, such as the store's. What lies in one of them is written
        relative to ``folder``; of any other absolute path only the name is left, beside which the
        document has a hash.
    """

    def __init__(self, folder: Path | None = None, others: Sequence[Path] = ()) -> None:
        self._folder = folder and folder.resolve()
        known = dict.fromkeys(place.resolve() for place in (folder, *others) if place is not None)
        self._known = sorted(known, key=lambda place: -len(place.parts))

    def value(self, held: Any) -> Any:
        """Return a value of JSON without the absolute paths in its texts."""
        if isinstance(held, dict):
            return {key: self.value(inner) for key, inner in held.items()}
        if isinstance(held, list | tuple):
            return [self.value(inner) for inner in held]
        if isinstance(held, os.PathLike):
            return self.text(str(held))
        return self.text(held) if isinstance(held, str) else held

    def text(self, text: str) -> str:
        """Return a text that is a path, or that names some, without what leads to them."""
        if os.path.isabs(text) and "\n" not in text and len(Path(text).parts) > 1:
            return self._path(Path(text))
        for place in self._known:
            text = text.replace(f"{place}{os.sep}", "")
        return text

    def _path(self, path: Path) -> str:
        if self._folder and any(path == place or place in path.parents for place in self._known):
            return os.path.relpath(path, self._folder)
        return path.name


def portable_record(record: Mapping[str, Any], folder: Path, home: Path) -> dict[str, Any]:
    """Return the record of a selection as its manifest in ``folder`` has it.

    ``home`` is the folder of the store.
    """
    portable = Portable(folder, [home])
    return {k: v if k in _TYPED else portable.value(v) for k, v in record.items()}
