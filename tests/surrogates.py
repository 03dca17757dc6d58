"""Stores with lone surrogates, as earlier versions made them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from curate.data.read import canonical


@contextmanager
def surrogates_let_in() -> Iterator[None]:
    """Let rows with a lone surrogate into the pool, which are refused today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "lone_surrogate", lambda _value: "")
        yield
