"""What to select: the options every command that selects has in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True)
class SelectOptions:
    """What to select, apart from how to compute missing scores.

    ``datasets`` restricts the pool to the examples of some datasets; ``bind`` fixes score sets by
    alias (used to reproduce a selection); ``within`` restricts it to an earlier selection, and the
    examples of the selections ``without`` are left out. ``quota`` bounds what is taken of each source or
    value of a column, and ``mix`` says it exactly: see `curate.select.shares`. ``target`` names the target
    set to select towards.
    """

    method: str
    budget: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    where: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    quota: Mapping[str, str] = field(default_factory=dict)
    mix: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[str, ...] | None = None
    within: str | None = None
    without: tuple[str, ...] = ()
    bind: Mapping[str, str] = field(default_factory=dict)
    allow_stale: bool = False
    target: str | None = None
