"""What a family of inputs is: how one is made from a seed, and what reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, final

REFUSED: Final = "refused"
READ: Final = "read"


@final
@dataclass(frozen=True, slots=True)
class Attack:
    """One input: its bytes and the name of the file that holds it."""

    content: bytes
    name: str


@final
@dataclass(frozen=True, slots=True)
class Family:
    """One kind of input.

    Parameters
    ----------
    make
        Makes an input, a pure function of the random numbers.
    read
        Reads a file as the product does, in an empty folder, and returns `READ` or `REFUSED`. It may
        raise the errors of curate, which refuse it; any other exception is a finding.
    """

    name: str
    make: Callable[[Random], Attack]
    read: Callable[[Path, Path], str]


def random_of(seed: int, family: str, number: int) -> Random:
    """Return the random numbers of one input."""
    return Random(f"{seed}:{family}:{number}")
