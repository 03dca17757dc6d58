"""Keys of turns: which are read, under which of their names; speakers that the user maps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from curate.data.messages import MASKS, REASONING_NAMES, RowError, turns

_ANY: Final = frozenset(("role", "from", "value", "weight", "train", *REASONING_NAMES))
_READ: Final = _ANY | {"content", "name", "tool_calls", "tool_call_id", "function_call"}
_SPEAKERS: Final = ("role", "from")


def is_filled(value: Any) -> bool:
    """Whether a value says anything: null, empty text, empty lists and empty objects do not."""
    return value is not None and value != "" and value != [] and value != {}


def unread_turn_keys(values: Sequence[Any]) -> Iterator[str]:
    """Yield, for each turn of a column of conversations, the keys with content that is not read."""
    for value in values:
        if value is None or (type(value) is str and not value.lstrip().startswith("[")):
            continue
        try:
            listed = turns(value, "")
        except RowError:
            continue  # the row itself fails with this reason
        for turn in listed:
            if isinstance(turn, Mapping) and len(turn) > 2:
                yield from _unread(turn)


def _unread(turn: Mapping[str, Any]) -> Iterator[str]:
    read = _READ if turn.get("content") is not None or turn.get("value") is None else _ANY
    for key, held in turn.items():
        is_mask = key in MASKS and isinstance(held, bool)
        if key not in read and not is_mask and is_filled(held):
            yield key


def renamed_speakers(value: Any, roles: Mapping[str, str]) -> Any:
    """Return a conversation in which the speakers of ``--role`` have the roles they were given."""
    try:
        listed = turns(value, "")
    except RowError:
        return value
    return [_renamed(turn, roles) for turn in listed]


def _renamed(turn: Any, roles: Mapping[str, str]) -> Any:
    if not isinstance(turn, Mapping):
        return turn
    for key in _SPEAKERS:
        speaker = turn.get(key)
        if speaker is not None and (known := roles.get(str(speaker).strip().lower())):
            return {**turn, key: known}
    return turn
