"""What every supported trainer must declare."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from curate.data.write.row_formats import RowFormat


@final
@dataclass(frozen=True, slots=True)
class Exported:
    """A folder of an export, as the files beside the data describe it.

    Parameters
    ----------
    name
        Of the dataset: letters, digits, dash and underscore.
    folder
        As the user typed it.
    to
        Name of the format of the rows.
    splits
        Rows of each split, each in a folder of its name.
    columns
        Of the rows.
    repo
        Hub repository it will be uploaded to, or None.
    """

    name: str
    folder: str
    to: str
    splits: Mapping[str, int]
    columns: Sequence[str]
    repo: str | None = None

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split."""
        return "validation" in self.splits


class Trainer(ABC):
    """A training tool: the formats it reads, the default first, and its registration.

    ``weights`` says in one sentence what it does with a weight per example.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formats: ClassVar[Mapping[str, RowFormat]]
    weights: ClassVar[str]

    @abstractmethod
    def files(self, exported: Exported) -> Mapping[str, str]:
        """Return the files to write beside the data, by name."""

    @abstractmethod
    def usage(self, exported: Exported) -> str:
        """Return how to train on the folder, as Markdown."""
