"""What was measured on this machine, kept in the user's cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from curate.errors import StoreError
from curate.store.cache import cache_folder
from curate.store.parts import read_json, write_json
from curate.store.records import canonical_json, digest


@final
@dataclass(frozen=True, slots=True)
class Remembered:
    """Some measurements in a file that need not exist; remove it to measure again.

    Parameters
    ----------
    path
        The file.
    about
        What its name is made of: all that the measurements depend on.
    """

    path: Path
    about: Mapping[str, Any]

    @classmethod
    def of(cls, folder: str, about: Mapping[str, Any]) -> "Remembered":
        """Return what a folder of the cache has about something."""
        name = f"{digest(canonical_json(about), 8)}.json"
        return cls(cache_folder() / folder / name, about)

    def known(self) -> dict[str, Any]:
        """Return the measurements by name; none where the file is missing or damaged."""
        try:
            found: Any = read_json(self.path)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def add(self, more: Mapping[str, Any]) -> None:
        """Keep some more. Where the cache cannot be written they will be measured again."""
        try:
            write_json(self.path, {**self.known(), **more, "of": dict(self.about)})
        except (OSError, StoreError):  # a full disk is the latter
            return
