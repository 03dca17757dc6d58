"""Detects a dataset's layout from its columns and first rows, or says why it cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from curate.data.messages import ROLES, RowError, turns
from curate.data.read.formats import COMMON_ROLES, FORMATS, Format
from curate.data.read.records import Sample
from curate.data.read.suggestion import all_text, suggested
from curate.data.read.turn_keys import is_filled
from curate.errors import ConfigError, DataError, did_you_mean

_N_SAMPLED: Final = 100
_ROLE_ALIASES: Final = {"conversations": "messages", "external_id": "id"}
_TURN_FORMATS: Final = ("messages", "sharegpt")
_REQUIRED: Final = {r for layout in FORMATS.values() for needed in layout.required for r in needed}
LATE_CONTAINERS: Final = ("jsonl", "json")
"""Those in which a column may first appear in a later row."""


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """How to read rows: the format, which column plays which role, and speakers the user mapped.

    ``rivals`` are columns that could play a role that another one plays, where nobody said which.
    """

    format: Format
    columns: Mapping[str, str]
    roles: Mapping[str, str] = field(default_factory=dict)
    rivals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def detect(
    name: str,
    names: Sequence[str],
    sample: Sample,
    format_name: str,
    mapping: Mapping[str, str],
    roles: Mapping[str, str] | None = None,
    *,
    late: bool = False,
) -> Layout:
    """Find the one format that fits.

    Parameters
    ----------
    name
        The dataset, for messages.
    names
        Columns found in the first rows.
    format_name
        ``auto``, or the format to use.
    mapping
        Role to column, as given by ``--column``; an empty column means that no column has this role.
    roles
        Speaker to role, as given by ``--role``.
    late
        Whether a column of an optional role may first appear in later rows.

    Raises
    ------
    ConfigError
        Unknown format or role.
    DataError
        No format fits, several do, or a mapped column does not exist.
    """
    wanted = _check_mapping(name, names, mapping, late)
    known = _check_roles(roles or {})
    if format_name == "auto":
        candidates = list(FORMATS.values())
    else:
        candidates = [_format(format_name)]
    layouts = [
        Layout(layout, columns, known)
        for layout, columns in _fitting(candidates, names, wanted, sample, format_name == "auto")
    ]
    if format_name != "auto":
        layouts = layouts[:1]
    if len(layouts) == 1:
        return layouts[0]
    if layouts:
        raise DataError(_ambiguous(name, names, layouts))
    raise DataError(_unknown(name, names, candidates, sample))


def _format(name: str) -> Format:
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise ConfigError(f"unknown format {name!r}{hint}; choose auto, {', '.join(FORMATS)}")
    return FORMATS[name]


def optional_roles(layout: Format, bound: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the roles a format may have besides those it needs, with the columns to look for."""
    roles = {**layout.optional, **COMMON_ROLES}
    if layout.name == "prompt-response" and bound["prompt"] != "instruction":
        roles["input"] = ()
    return roles


def no_such_column(name: str, role: str, column: str, names: Sequence[str]) -> DataError:
    """Return the error of a ``--column`` that names a column the dataset lacks."""
    return DataError(
        f"--column {role}={column}: {name} has no column {column!r}{did_you_mean(column, names)}; "
        f"its columns are {_listed(names)}"
    )


def _check_roles(roles: Mapping[str, str]) -> dict[str, str]:
    """Return the roles as `canonical_roles` does, once all of them are known."""
    for speaker, role in roles.items():
        if role not in ROLES:
            raise ConfigError(
                f"--role {speaker}={role}: unknown role {role!r}{did_you_mean(role, ROLES)}; "
                "choose system, user, assistant or tool"
            )
    return canonical_roles(roles)


def canonical_roles(roles: Mapping[str, str]) -> dict[str, str]:
    """Return the canonical role of each speaker, the speakers in lower case and without blanks."""
    return {speaker.strip().lower(): ROLES[role] for speaker, role in roles.items()}


def _check_mapping(
    name: str, names: Sequence[str], mapping: Mapping[str, str], late: bool
) -> dict[str, str]:
    roles = sorted(
        {role for layout in FORMATS.values() for role in layout.roles} | set(COMMON_ROLES)
    )
    wanted = {}
    for given, column in mapping.items():
        role = _ROLE_ALIASES.get(given, given)
        if role not in roles:
            raise ConfigError(
                f"--column {given}={column}: unknown role {given!r}{did_you_mean(role, roles)}; "
                f"roles: {', '.join(roles)}"
            )
        if column and column not in names and not (late and role not in _REQUIRED):
            raise no_such_column(name, given, column, names)
        wanted[role] = column
    return wanted


def _fitting(
    candidates: Sequence[Format],
    names: Sequence[str],
    wanted: Mapping[str, str],
    sample: Sample,
    guessing: bool,
) -> list[tuple[Format, dict[str, str]]]:
    """Return the formats that fit, with their columns by role: those of the first tier that has any."""
    tiers: dict[tuple[int, bool], list[tuple[Format, tuple[Mapping[str, str], ...]]]] = {}
    for layout in candidates:
        tiers.setdefault((layout.tier, False), []).append((layout, layout.required))
        tiers.setdefault((layout.tier, True), []).append((layout, layout.further))
    for tier in sorted(tiers):
        fitting = [
            (layout, columns)
            for layout, alternatives in tiers[tier]
            for columns in _bindings(layout, alternatives, names, wanted, sample, guessing)
        ]
        if fitting:
            return fitting
    return []


def _bindings(
    layout: Format,
    alternatives: Sequence[Mapping[str, str]],
    names: Sequence[str],
    wanted: Mapping[str, str],
    sample: Sample,
    guessing: bool,
) -> list[dict[str, str]]:
    """Return each way to match required roles to columns; at most one per set of columns."""
    if any(role not in layout.roles and role not in COMMON_ROLES for role in wanted):
        return []
    bindings: list[dict[str, str]] = []
    for required in alternatives:
        columns = {role: wanted.get(role, default) for role, default in required.items()}
        if not all(column in names for column in columns.values()) or columns in bindings:
            continue
        if guessing and layout.name in _TURN_FORMATS:
            dialect = _dialect(sample(columns["messages"]))
            if dialect != layout.name:
                continue
        bindings.append(columns)
    return [_with_optional(layout, columns, names, wanted, sample) for columns in bindings]


def _dialect(values: Sequence[Any]) -> str | None:
    """Return the format whose keys the first turn of a column has, or None if it has no turns.

    Turns of the other dialect, also within a row, are read too.
    """
    for value in values[:_N_SAMPLED]:
        try:
            listed = turns(value, "messages")
        except RowError:
            continue
        if len(listed) > 1 and all(isinstance(turn, str) for turn in listed):
            return "messages"
        for turn in listed:
            if isinstance(turn, Mapping) and _says(turn, "role", "content"):
                return "messages"
            if isinstance(turn, Mapping) and _says(turn, "from", "value"):
                return "sharegpt"
    return None


def _says(turn: Mapping[str, Any], *keys: str) -> bool:
    return any(turn.get(key) is not None for key in keys)


def _with_optional(
    layout: Format,
    columns: dict[str, str],
    names: Sequence[str],
    wanted: Mapping[str, str],
    sample: Sample,
) -> dict[str, str]:
    bound = dict(columns)
    for role, defaults in optional_roles(layout, columns).items():
        if role in wanted:
            if wanted[role]:
                bound[role] = wanted[role]
            continue
        free = [name for name in defaults if name in names and name not in columns.values()]
        if not free:
            continue
        said = (name for name in free if len(free) == 1 or any(map(is_filled, sample(name))))
        column = next(said, free[0])  # of several the first that says anything
        if role != "source" or all_text(sample(column)):
            bound[role] = column
    return bound


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:30])
    return (shown + (f" and {len(names) - 30} more" if len(names) > 30 else "")) or "none"


def _needs(layout: Format) -> str:
    return " or ".join("+".join(needed.values()) for needed in (*layout.required, *layout.further))


def _unknown(name: str, names: Sequence[str], candidates: Sequence[Format], sample: Sample) -> str:
    what = f"the format {candidates[0].name!r}" if len(candidates) == 1 else "any known format"
    known = "; ".join(f"{layout.name} ({_needs(layout)})" for layout in candidates)
    fix = suggested(names, sample, name) if len(candidates) > 1 else ""
    return (
        f"{name} does not fit {what}; its columns are {_listed(names)}; "
        + (f"{fix}; " if fix else "")
        + f"known formats and the columns they need: {known}; "
        "name it with --format, or say which column has which role: --column messages=dialogs"
    )


def _ambiguous(name: str, names: Sequence[str], layouts: Sequence[Layout]) -> str:
    fits = ", ".join(
        f"{layout.format.name} ({'+'.join(layout.columns[r] for r in layout.format.required[0])})"
        for layout in layouts
    )
    first = layouts[0]
    roles = " ".join(
        f"--column {r}={layout_column}"
        for r, layout_column in ((r, first.columns[r]) for r in first.format.required[0])
    )
    known = "; ".join(f"{layout.name} ({_needs(layout)})" for layout in FORMATS.values())
    return (
        f"{name} fits more than one format: {fits}; its columns are {_listed(names)}; "
        f"known formats and the columns they need: {known}; "
        f"choose with --format {first.format.name}, or with {roles}"
    )
