"""A conversation in one form, rendered once where that also tells the texts of its beginnings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.errors import ExampleFailure
from curate.models.text.beginnings.trace import Beginnings
from curate.models.text.said import Form, unsaid
from curate.models.text.template_code import TEMPLATE_TIMEOUT, TemplateCode

Message = Mapping[str, Any]
OWN: Final = Form()


@final
@dataclass(slots=True)
class Draft:
    """Gives the texts of a conversation's beginnings under one form, with and without a prompt.

    Each is what the template writes of those messages alone. Where the template decides nothing in
    it by later messages, it is cut out of one rendering of all of them.

    Parameters
    ----------
    messages
        All of the conversation, up to the last turn that is looked for.
    source, code, tools, arguments
        The template, and what it gets beside messages.
    prompts
        The template's generation prompt by the arguments of a conversation's own, once known.
    form
        How the conversation is given to the template.
    """

    messages: Sequence[Message]
    source: str
    code: TemplateCode
    tools: list[Any] | None
    arguments: Mapping[str, Any]
    prompts: dict[str, str]
    form: Form = OWN
    _whole: list[dict[str, Any]] | None = None
    _beginnings: Beginnings | None = None
    _tried: bool = False
    _context: str = ""
    _count: int = 0

    def written(self, k: int) -> list[dict[str, Any]]:
        """Return the first k messages as the template reads them."""
        if self._whole is None or len(self._whole) < k:
            return self.form.write(self.messages[:k], self.source)
        return self._whole[:k]

    def text(self, k: int) -> str:
        """Return the text of the first k messages; raise `ExampleFailure` as a rendering does."""
        beginnings = self._read()
        text = beginnings.first(k) if beginnings else None
        return self._render(k, prompt=False) if text is None else text

    def prompt(self, k: int) -> str:
        """Return the text of the first k messages with the generation prompt."""
        beginnings = self._read()
        text = beginnings.asked(k) if beginnings else None
        if text is None:
            return self._render(k, prompt=True)
        own = self.messages[0].get(TEMPLATE_ARGUMENTS)
        key = json.dumps(own, sort_keys=True) if own else ""
        if key in self.prompts:
            return text + self.prompts[key]
        asked = self._render(k, prompt=True)
        if asked.startswith(text):  # but for a template that draws at random
            self.prompts[key] = asked[len(text) :]
        return asked

    def unsaid(self, count: int, context: str) -> str | None:
        """Return the reason why a context does not show all of the first messages, or None."""
        known = self._count if self._count <= count and context.startswith(self._context) else 0
        lost = unsaid(self.messages[known:count], context)
        if lost is None:
            self._context, self._count = context, count
        return lost

    def _read(self) -> Beginnings | None:
        """Render the whole conversation once; None where it fails, and each turn has to be tried."""
        if not self._tried:
            self._tried = True
            try:
                self._whole = self.form.write(self.messages, self.source)
                self._beginnings = self.code.beginnings(self._whole, self.tools, self.arguments)
            except ExampleFailure as failure:
                if failure.reason == TEMPLATE_TIMEOUT:
                    raise
        return self._beginnings

    def _render(self, k: int, *, prompt: bool) -> str:
        return self.code.render(self.written(k), self.tools, self.arguments, prompt=prompt)


@final
class Drafts:
    """A conversation in each of some forms, in order, each made only when the one before it does not fit."""

    def __init__(self, ways: Sequence[Form], first: Draft) -> None:
        first.form = ways[0]
        self._ways = ways
        self._made = [first]

    def __iter__(self) -> Iterator[Draft]:
        for number, form in enumerate(self._ways):
            if number == len(self._made):
                first = self._made[0]
                self._made.append(
                    Draft(
                        first.messages,
                        first.source,
                        first.code,
                        first.tools,
                        first.arguments,
                        first.prompts,
                        form,
                    )
                )
            yield self._made[number]
