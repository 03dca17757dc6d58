"""How the rows of a stored dataset were read, to read them again in the same way."""

from typing import TYPE_CHECKING

from curate.data.read.detection import Layout, canonical_roles
from curate.data.read.formats import FORMATS

if TYPE_CHECKING:
    from curate.store import Dataset


def layout_of(dataset: "Dataset") -> Layout:
    """Return the layout a dataset was read in."""
    roles = canonical_roles(dataset.extra.get("options", {}).get("roles", {}))
    return Layout(FORMATS[dataset.format], dataset.columns, roles)
