"""The row layouts that are understood: the columns each needs, and its conversion to messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

from curate.data.messages import (
    Message,
    RowError,
    assistant,
    conversation,
    is_conversation,
    kind,
    system,
    tool_list,
    turns,
    user,
)
from curate.data.notations import listed_in, turns_in

Tools: TypeAlias = list[dict[str, Any]] | None
Conversion: TypeAlias = tuple[list[Message], Tools]


@final
@dataclass(frozen=True, slots=True)
class Format:
    """One layout.

    Parameters
    ----------
    required
        Alternatives, each mapping roles to columns unless ``--column`` names another.
    optional
        Further roles: the columns looked for, in order.
    roles
        Order of the arguments of ``convert``.
    convert
        From one row's values, None where absent, to messages and tools; raises `RowError`.
    further
        More alternatives, looked for only where no format's ``required`` are found.
    several
        Role of the column that holds a list of responses, each of which becomes an example, or "".
    tier
        A format is looked at only where none of a lower tier fits: many rows have a column ``text``.
    """

    name: str
    required: tuple[Mapping[str, str], ...]
    optional: Mapping[str, tuple[str, ...]]
    roles: tuple[str, ...]
    convert: Callable[..., Conversion]
    further: tuple[Mapping[str, str], ...] = ()
    several: str = ""
    tier: int = 0


def _join_input(instruction: str, extra: object) -> str:
    if extra is None or extra == "":
        return instruction
    if not isinstance(extra, str):
        raise RowError(f"input is {kind(extra)}, not text")
    return f"{instruction}\n\n{extra}" if instruction else extra


def _alpaca(
    instruction: object, output: object, extra: object, system_text: object, history: object
) -> Conversion:
    messages = [] if system_text is None else system(system_text)
    for pair in turns(history, "history") if history else ():
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("history is not a list of pairs of instruction and response")
        messages += [user(pair[0], "history"), assistant(pair[1], "history")]
    asked = user(instruction, "instruction")
    if extra:
        asked["content"] = _join_input(asked["content"], extra)
    messages += [asked, assistant(output, "output")]
    return messages, None


def _messages(value: object, system_text: object, tools: object) -> Conversion:
    return _turns(value, "messages", system_text, tools)


def _sharegpt(value: object, system_text: object, tools: object) -> Conversion:
    return _turns(value, "conversations", system_text, tools)


def _turns(value: object, role: str, system_text: object, tools: object) -> Conversion:
    return _with_system(system_text, conversation(value, role)), tool_list(tools)


def _with_system(system_text: object, messages: list[Message]) -> list[Message]:
    """Put the system column in front, unless the conversation has a system turn of its own."""
    if messages and messages[0]["role"] == "system":
        return messages
    return [*system(system_text), *messages]


def _asked(prompt: object, role: str) -> list[Message]:
    prompt = turns_in(prompt) or prompt
    if is_conversation(prompt):
        return conversation(prompt, role)
    return [user(prompt, role)]


def _answered(response: object, role: str) -> list[Message]:
    if is_conversation(response):
        return conversation(response, role)
    return [assistant(response, role)]


def _prompt_completion(
    prompt: object, completion: object, system_text: object, tools: object
) -> Conversion:
    asked = _with_system(system_text, _asked(prompt, "prompt"))
    if turns_in(prompt):  # and not an answer that happens to be such a list
        completion = turns_in(completion) or completion
    return asked + _answered(completion, "completion"), tool_list(tools)


def _prompt_response(
    prompt: object, response: object, extra: object, system_text: object
) -> Conversion:
    asked = _asked(prompt, "prompt")
    if extra:
        if is_conversation(prompt) or turns_in(prompt):
            raise RowError("input stands beside a prompt of turns, which has no place for it")
        asked[0]["content"] = _join_input(asked[0]["content"], extra)
    asked = _with_system(system_text or None, asked)
    return asked + _answered(response, "response"), None


def _prompt_responses(
    prompt: object, responses: object, system_text: object, tools: object
) -> Conversion:
    """Convert a row whose list holds one response; `OneResponseEach` makes them of longer lists."""
    if isinstance(responses, str):
        responses = listed_in(responses) or responses
    listed = responses if isinstance(responses, list) else [responses]
    if not listed:
        raise RowError("responses has 0 responses; at least one is needed")
    if len(listed) > 1:  # which only CSV leaves together
        raise RowError(
            f"responses lists {len(listed)} responses in one cell of CSV, which holds one; give each a row "
            "of its own, or write the data as JSON Lines"
        )
    [response] = listed
    if not (isinstance(response, str) or is_conversation(response)):
        raise RowError(
            f"responses holds {kind(response)}; each response is a text or a list of turns"
        )
    asked = _with_system(system_text, _asked(prompt, "prompt"))
    return asked + _answered(response, "responses"), tool_list(tools)


def _text(text: object) -> Conversion:
    return [assistant(text, "text")], None


def _preference(
    chosen: object, rejected: object, prompt: object, system_text: object, tools: object
) -> Conversion:
    prompt = turns_in(prompt) or prompt
    if turns_in(rejected):  # which stays in the raw row
        chosen = turns_in(chosen) or chosen
    if not is_conversation(chosen):
        if prompt is None:
            raise RowError("chosen is text but there is no prompt to go before it")
        asked = _with_system(system_text, _asked(prompt, "prompt"))
        return [*asked, assistant(chosen, "chosen")], tool_list(tools)
    messages = conversation(chosen, "chosen")
    if prompt is not None:
        asked = _asked(prompt, "prompt")
        starts_alone = bool(messages) and messages[0]["role"] == "assistant"
        if starts_alone or (is_conversation(prompt) and messages[: len(asked)] != asked):
            messages = asked + messages
    return _with_system(system_text, messages), tool_list(tools)


_SYSTEM: Final = ("system", "system_prompt")
_TOOLS: Final = ("tools",)

FORMATS: Final[Mapping[str, Format]] = {
    layout.name: layout
    for layout in (
        Format(
            "messages",
            ({"messages": "messages"}, {"messages": "conversations"}, {"messages": "conversation"}),
            {"system": _SYSTEM, "tools": _TOOLS},
            ("messages", "system", "tools"),
            _messages,
        ),
        Format(
            "sharegpt",
            ({"messages": "conversations"}, {"messages": "conversation"}, {"messages": "messages"}),
            {"system": _SYSTEM, "tools": _TOOLS},
            ("messages", "system", "tools"),
            _sharegpt,
        ),
        Format(
            "alpaca",
            ({"instruction": "instruction", "output": "output"},),
            {"input": ("input",), "system": _SYSTEM, "history": ("history",)},
            ("instruction", "output", "input", "system", "history"),
            _alpaca,
        ),
        Format(
            "prompt-completion",
            ({"prompt": "prompt", "completion": "completion"},),
            {"system": _SYSTEM, "tools": _TOOLS},
            ("prompt", "completion", "system", "tools"),
            _prompt_completion,
        ),
        Format(
            "prompt-response",
            (
                {"prompt": "prompt", "response": "response"},
                {"prompt": "instruction", "response": "response"},
                {"prompt": "question", "response": "answer"},
            ),
            {"input": ("context", "input"), "system": _SYSTEM},
            ("prompt", "response", "input", "system"),
            _prompt_response,
            further=(
                {"prompt": "query", "response": "response"},
                {"prompt": "query", "response": "answer"},
                {"prompt": "question", "response": "response"},
                {"prompt": "problem", "response": "solution"},
                {"prompt": "question", "response": "solution"},
                {"prompt": "input", "response": "output"},
            ),
        ),
        Format(
            "prompt-responses",
            (
                {"prompt": "prompt", "responses": "responses"},
                {"prompt": "instruction", "responses": "responses"},
                {"prompt": "query", "responses": "responses"},
                {"prompt": "question", "responses": "responses"},
                {"prompt": "problem", "responses": "responses"},
            ),
            {"system": _SYSTEM, "tools": _TOOLS},
            ("prompt", "responses", "system", "tools"),
            _prompt_responses,
            several="responses",
            tier=1,
        ),
        Format("text", ({"text": "text"},), {}, ("text",), _text, tier=2),
        Format(
            "preference",
            ({"chosen": "chosen", "rejected": "rejected"},),
            {"prompt": ("prompt",), "system": _SYSTEM, "tools": _TOOLS},
            ("chosen", "rejected", "prompt", "system", "tools"),
            _preference,
        ),
    )
}

# Roles any format may have beside its own: the columns looked for; the others only by --column.
COMMON_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "uid", "uuid"),
    "source": ("source",),
    "group_id": (),
    "template_args": ("chat_template_kwargs",),
    "images": ("images", "image"),
    "videos": ("videos", "video"),
    "audios": ("audios", "audio"),
}

MEDIA_ROLES: Final = ("images", "videos", "audios")
