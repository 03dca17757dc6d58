"""Masks of other trainers: which tokens of a conversation they train on, so that scores agree with them.

Both render a conversation once, in one row. TRL (``assistant_only_loss``) trains on what the template
marks with ``{% generation %}``. LLaMA-Factory writes a prompt and an answer in turn, tokenises each by
itself, and trains on all of the answers, what follows the end of a turn included.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from curate.contracts.conversation import is_trained
from curate.errors import ConfigError, ExampleFailure, MissingPackageError
from curate.models.text.said import REASONING_NOT_RENDERED, Form, Said, missing, unsaid
from curate.models.text.template_code import TEMPLATE_ERROR, TEMPLATE_TIMEOUT
from curate.models.text.templates import Span
from curate.models.text.turns import ChatRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CURATE: Final = "curate"
TRL: Final = "trl"
LLAMA_FACTORY: Final = "llama-factory"
MASKS: Final = (CURATE, TRL, LLAMA_FACTORY)

NOT_PREFIX_STABLE: Final = "template_not_prefix_stable"
MARKS_NOT_BY_TURN: Final = "template_marks_not_by_turn"  # so that one turn cannot be left out
MARKS: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")

Message = Mapping[str, Any]
Messages = Sequence[Message]


def whole_row(
    mask: str,
    ways: Mapping[Form, Callable[[], list[dict[str, Any]]]],
    messages: Messages,
    render: Callable[..., str],
    marked: Callable[..., tuple[str, Sequence[Span]]],
    opening: Callable[[list[dict[str, Any]], str], str],
) -> ChatRow:
    """Return a conversation in one row as another trainer masks it.

    Parameters
    ----------
    mask
        ``trl`` or ``llama-factory``.
    ways
        The messages as a template reads them, by form; the first that loses nothing is used.
    messages
        What they say.
    render, marked
        Give the text of messages, and the text with what is marked in it as generated.
    opening
        Gives the text in front of the last of some messages, whose text is its second argument.

    Raises `ExampleFailure` where the template refuses all forms, a text is lost, or LLaMA-Factory's
    mask meets a history that is rewritten.
    """
    failures: list[ExampleFailure] = []
    for form, write in ways.items():
        try:
            row = (
                ChatRow(*_marked(*marked(write())))
                if mask == TRL
                else _piecewise(write(), render, opening)
            )
            return _checked(row, messages, form)
        except ExampleFailure as failure:
            failures.append(failure)
            if failure.reason == TEMPLATE_TIMEOUT:
                break
    raise most_telling(failures)


def most_telling(failures: Sequence[ExampleFailure]) -> ExampleFailure:
    """Return the failure to report of those of several forms: lost reasoning, then a named one."""
    lost = [f for f in failures if f.reason == REASONING_NOT_RENDERED]
    named = [f for f in failures if not f.reason.startswith(TEMPLATE_ERROR)]
    return (lost or named or failures)[0]


def _marked(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Span, ...]]:
    return text, tuple((start, stop) for start, stop in spans if stop > start)


def _piecewise(
    written: list[dict[str, Any]],
    render: Callable[..., str],
    opening: Callable[[list[dict[str, Any]], str], str],
) -> ChatRow:
    full = render(written, prompt=False)
    spans: list[Span] = []
    for i, message in enumerate(written):
        if message["role"] != "assistant":
            continue
        upto = written[: i + 1]
        text = full if len(upto) == len(written) else render(upto, prompt=False)
        prompt = opening(upto, text)
        if not (full.startswith(text) and text.startswith(prompt)):
            raise ExampleFailure(NOT_PREFIX_STABLE)
        spans.append((len(prompt), len(text)))
    return ChatRow(full, tuple(spans))


def _checked(row: ChatRow, messages: Messages, form: Form) -> ChatRow:
    """Return a row with the spans of the trained turns, once it is known to say everything.

    A template that marks no turn, or one in several places, has them checked together.
    """
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    scored = [row.text[start:stop] for start, stop in row.spans]
    one_each = len(scored) == len(turns)
    if not one_each:
        scored = ["".join(scored)] * len(turns)
    for i, text in zip(turns, scored, strict=True):
        said = Said.of(messages[i])
        if form.reasoning == "drop":
            said = Said("", said.content, said.calls)
        if lost := missing(said, text):
            raise ExampleFailure(lost)
    if turns and (lost := unsaid(messages[: turns[-1]], row.text)):
        raise ExampleFailure(lost)
    trained = [is_trained(messages[i]) for i in turns]
    if all(trained):
        return row
    if not one_each:
        raise ExampleFailure(MARKS_NOT_BY_TURN)
    kept = tuple(span for span, counts in zip(row.spans, trained, strict=True) if counts)
    return ChatRow(row.text, kept)


def check_marks(source: str, name: str) -> None:
    """Raise `ConfigError` for a template that marks nothing, which TRL's mask needs."""
    if not MARKS.search(source):
        raise ConfigError(
            f"--mask trl scores what a chat template marks with {{% generation %}}, and that of "
            f"{name!r} marks nothing; add --template trl for TRL's own training template, or give "
            "one with --chat-template FILE"
        )


def training_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return TRL's training template for a model; its own template where TRL trains with that.

    Raises `MissingPackageError` without TRL and `ConfigError` for a template TRL does not know.
    """
    name = tokenizer.name_or_path
    try:
        from trl.chat_template_utils import get_training_chat_template
    except ImportError as error:
        raise MissingPackageError(
            "--template trl needs the package trl, for its training templates; type: pip install trl"
        ) from error
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer of {name!r} has no chat template, so TRL has no training template for it; "
            "leave --template trl out"
        )
    try:
        template = get_training_chat_template(tokenizer)
    except ValueError as error:
        raise ConfigError(
            f"TRL has no training template for the chat template of {name!r}; leave --template trl "
            "out, or give a template with {% generation %} marks by --chat-template FILE"
        ) from error
    return str(template or tokenizer.get_chat_template())
