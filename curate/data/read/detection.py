"""Detects a dataset's layout from its columns and first rows, or says why it cannot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from curate.data.messages import RowError, turns
from curate.data.read.formats import COMMON_ROLES, FORMATS, Format
from curate.errors import ConfigError, DataError, did_you_mean

_N_SAMPLED: Final = 100
_ROLE_ALIASES: Final = {"conversations": "messages", "external_id": "id"}
_TURN_KEYS: Final = {"messages": ("role", "content"), "sharegpt": ("from", "value")}

Sample = Callable[[str], Sequence[Any]]  # column -> its values in the first rows


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """How to read rows: the format, and which column plays which role."""

    format: Format
    columns: Mapping[str, str]


def detect(
    name: str, names: Sequence[str], sample: Sample, format_name: str, mapping: Mapping[str, str]
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

    Raises
    ------
    ConfigError
        Unknown format or role.
    DataError
        No format fits, several do, or a mapped column does not exist.
    """
    wanted = _check_mapping(name, names, mapping)
    if format_name == "auto":
        candidates = list(FORMATS.values())
    else:
        candidates = [_format(format_name)]
    found = [
        Layout(layout, columns)
        for layout in candidates
        for columns in _bindings(layout, names, wanted, sample, format_name == "auto")
    ]
    if format_name != "auto":
        found = found[:1]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(_ambiguous(name, names, found))
    raise DataError(_unknown(name, names, candidates))


def _format(name: str) -> Format:
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise ConfigError(f"unknown format {name!r}{hint}; choose auto, {', '.join(FORMATS)}")
    return FORMATS[name]


def _check_mapping(name: str, names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
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
        if column and column not in names:
            hint = did_you_mean(column, names)
            raise DataError(
                f"--column {given}={column}: {name} has no column {column!r}{hint}; "
                f"its columns are {_listed(names)}"
            )
        wanted[role] = column
    return wanted


def _bindings(
    layout: Format, names: Sequence[str], wanted: Mapping[str, str], sample: Sample, guessing: bool
) -> list[dict[str, str]]:
    """Return each way to match the layout's required roles to columns; at most one per set of columns."""
    if any(role not in layout.roles and role not in COMMON_ROLES for role in wanted):
        return []
    found: list[dict[str, str]] = []
    for required in layout.required:
        columns = {role: wanted.get(role, default) for role, default in required.items()}
        if not all(column in names for column in columns.values()) or columns in found:
            continue
        if guessing and layout.name in _TURN_KEYS and not _has_turns(layout, columns, sample):
            continue
        found.append(columns)
    return [_with_optional(layout, columns, names, wanted, sample) for columns in found]


def _has_turns(layout: Format, columns: Mapping[str, str], sample: Sample) -> bool:
    keys = _TURN_KEYS[layout.name]
    for value in sample(columns["messages"])[:_N_SAMPLED]:
        try:
            listed = turns(value, "messages")
        except RowError:
            continue
        for turn in listed:
            if isinstance(turn, Mapping) and any(turn.get(key) is not None for key in keys):
                return keys[0] in turn
    return False


def _with_optional(
    layout: Format,
    columns: dict[str, str],
    names: Sequence[str],
    wanted: Mapping[str, str],
    sample: Sample,
) -> dict[str, str]:
    bound = dict(columns)
    for role, defaults in {**layout.optional, **COMMON_ROLES}.items():
        if role in wanted:
            if wanted[role]:
                bound[role] = wanted[role]
            continue
        if layout.name == "prompt-response" and role == "input":
            defaults = defaults if columns["prompt"] == "instruction" else ()
        free = [name for name in defaults if name in names and name not in columns.values()]
        if free and (role != "source" or _is_text(sample(free[0]))):
            bound[role] = free[0]
    return bound


def _is_text(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:30])
    return (shown + (f" and {len(names) - 30} more" if len(names) > 30 else "")) or "none"


def _needs(layout: Format) -> str:
    return " or ".join("+".join(required.values()) for required in layout.required)


def _unknown(name: str, names: Sequence[str], candidates: Sequence[Format]) -> str:
    what = f"the format {candidates[0].name!r}" if len(candidates) == 1 else "any known format"
    known = "; ".join(f"{layout.name} ({_needs(layout)})" for layout in candidates)
    return (
        f"{name} does not fit {what}; its columns are {_listed(names)}; "
        f"known formats and the columns they need: {known}; "
        "name it with --format, or say which column has which role: --column messages=dialogs"
    )


def _ambiguous(name: str, names: Sequence[str], found: Sequence[Layout]) -> str:
    fits = ", ".join(
        f"{layout.format.name} ({'+'.join(layout.columns[r] for r in layout.format.required[0])})"
        for layout in found
    )
    first = found[0]
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
