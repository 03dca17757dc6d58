"""Template arguments that rows bring along, and that the chat template does not read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.contracts.display import counted
from curate.errors import did_you_mean

if TYPE_CHECKING:
    from curate.models.text.chat import ChatTemplate


@final
class UnreadArguments:
    """Counts the examples whose own arguments have a name that no template reads.

    Parameters
    ----------
    chat
        The template, which may be another one for conversations with tools.
    """

    def __init__(self, chat: "ChatTemplate") -> None:
        self._chat = chat
        self._names: Counter[str] = Counter()
        self._n_examples = 0
        self._known: set[str] = set()

    def see(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
    ) -> None:
        """Look at one example; one without arguments of its own costs nothing."""
        own = messages[0].get(TEMPLATE_ARGUMENTS) if messages else None
        if not own:
            return
        read = self._chat.code([dict(tool) for tool in tools] if tools else None).variables
        self._known |= read
        unread = [name for name in own if name not in read]
        self._names.update(unread)
        self._n_examples += bool(unread)

    def note(self) -> str:
        """Return one line that names them all with their counts, or ""."""
        if not self._names:
            return ""
        named = ", ".join(
            f"{name!r} ({n:,}{did_you_mean(name, self._known)})"
            for name, n in self._names.most_common()
        )
        have = "has" if self._n_examples == 1 else "have"
        known = ", ".join(sorted(self._known)) or "none"
        return (
            f"{counted(self._n_examples, 'example')} {have} arguments in {TEMPLATE_ARGUMENTS} that the "
            f"chat template does not read, without effect: {named}; it reads: {known}"
        )
