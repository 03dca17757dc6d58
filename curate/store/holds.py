"""Files that stay attached between the connections of one piece of work, which opens them many times.

Attaching and detaching a file costs several times as much as most queries. Whoever knows that it opens
a store again and again for a moment holds it: the first connection inside attaches the file, and the
end of the hold detaches it. No other process can open the file meanwhile.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol, final

_LOCK: Final = threading.Lock()  # over all holds


class Attachment(Protocol):
    """What a file is attached to."""

    sound: bool


@final
class _Hold:
    """One file that several users hold; attached once it was opened, until it is let go."""

    def __init__(self) -> None:
        self.users = 0
        self.attachment: Attachment | None = None
        self.is_in_place = False
        self._end = ExitStack()

    def keep(self, attach: Callable[[], AbstractContextManager[Attachment]]) -> None:
        if self.attachment is None:
            self.attachment = self._end.enter_context(attach())

    def let_go(self) -> None:
        self.attachment = None
        self.is_in_place = False
        self._end.close()


_HOLDS: Final[dict[Path, _Hold]] = {}


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep a file attached from its first connection in this block to the block's end.

    Blocks may lie in one another, and in several threads. `connect_to_read` works inside: it lets go,
    and the next connection attaches again. A fork begins without a hold.
    """
    with _LOCK:
        hold = _HOLDS.setdefault(path, _Hold())
        hold.users += 1
    try:
        yield
    finally:
        with _LOCK:
            hold.users -= 1
            if not hold.users and _HOLDS.get(path) is hold:
                del _HOLDS[path]
                hold.let_go()


def keep(path: Path, attach: Callable[[], AbstractContextManager[Attachment]]) -> None:
    """Attach a file, which a connection has just opened, for as long as it is held, if it is."""
    with _LOCK:
        if path in _HOLDS:
            _HOLDS[path].keep(attach)


def let_go(path: Path) -> None:
    """Detach a file that is held; the next connection attaches it again."""
    with _LOCK:
        if path in _HOLDS:
            _HOLDS[path].let_go()


def let_go_if_broken(path: Path) -> None:
    """Detach a file that is held from an engine that cannot be used any more."""
    with _LOCK:
        hold = _HOLDS.get(path)
        if hold is not None and hold.attachment is not None and not hold.attachment.sound:
            hold.let_go()


def is_in_place(path: Path) -> bool:
    """Whether the relations of a file were found to name the right folder since it is attached."""
    with _LOCK:
        return path in _HOLDS and _HOLDS[path].is_in_place


def mark_in_place(path: Path) -> None:
    """Remember, for as long as a file stays attached, that its relations name the right folder."""
    with _LOCK:
        hold = _HOLDS.get(path)
        if hold is not None and hold.attachment is not None:
            hold.is_in_place = True


def _before_fork() -> None:
    """Detach what no connection uses: an engine that has files attached would come along."""
    _LOCK.acquire()
    for hold in _HOLDS.values():
        hold.let_go()


def _in_child() -> None:
    _HOLDS.clear()
    _LOCK.release()


os.register_at_fork(before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_in_child)
