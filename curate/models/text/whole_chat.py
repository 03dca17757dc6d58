"""A conversation as one text by a chat template: to its end, or up to where an answer begins."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from curate.contracts import Example
from curate.errors import ExampleFailure
from curate.models.text.masks import most_telling
from curate.models.text.said import Form, Said, missing, unsaid
from curate.models.text.template_code import TEMPLATE_ERROR, TEMPLATE_TIMEOUT

LostIn: TypeAlias = Callable[[str], str | None]  # why a text does not show all it should, or None


def loss_of(example: Example, reasoning: str | None) -> LostIn:
    """Return what says why a text does not show all of an example.

    Its last turn has to be there as a whole, but for reasoning where ``reasoning`` does not ask for it;
    of the turns before, what others than the assistant said. Raises `ExampleFailure` for content that
    is not text.
    """
    *history, last = example.messages
    said = Said.of(last)
    if reasoning in (None, "drop"):
        said = Said("", said.content, said.calls)
    return lambda text: unsaid(history, text) or missing(said, text)


def one_text(
    ways: Sequence[Form],
    render: Callable[[Form], str],
    lost_in: LostIn,
) -> str:
    """Return what a template writes of a conversation in the first form that loses nothing.

    Parameters
    ----------
    ways
        The forms to try, in order.
    render
        Gives the text of the conversation in a form.
    lost_in
        See `LostIn`.

    Raises `ExampleFailure` where the template refuses all forms, or loses something in each.
    """
    failures: list[ExampleFailure] = []
    for form in ways:
        try:
            text = render(form)
        except ExampleFailure as failure:
            failures.append(failure)
            if failure.reason == TEMPLATE_TIMEOUT:
                break
            continue
        lost = lost_in(text)
        if lost is None:
            return text
        failures.append(ExampleFailure(lost))
    raise most_telling(failures)


def without_words(failure: ExampleFailure) -> ExampleFailure:
    """Return a failure of a template as stores of whole texts have it: without the template's own words."""
    bare = failure.reason.startswith(f"{TEMPLATE_ERROR}:")
    return ExampleFailure(TEMPLATE_ERROR) if bare else failure
