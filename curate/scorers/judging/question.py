"""The question a judge is asked about one example."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from curate.contracts import Example, LoadContext
from curate.errors import ConfigError, DataError, ExampleFailure, ModelError
from curate.models.files import text_hash
from curate.models.text.chat_options import ChatOptions
from curate.models.text.prompts import Prompter
from curate.models.text.render import PROMPT_EXCEEDS_CONTEXT
from curate.models.text.said import without_reasoning
from curate.models.text.templates import CHAT, turn_text
from curate.scorers.bsdetector.prompts import history_text

FIELDS: Final = ("instruction", "response", "lowest", "highest")
OPENING: Final = "score: ("  # of the answer: the number is the next token
FILE_MARK: Final = "@"

_FIELD: Final = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
REPLY: Final = (
    "\n\nReply with one whole number from {lowest} to {highest} and nothing else, in this form:\n"
    "score: (number)"
)


@final
@dataclass(frozen=True, slots=True)
class Question:
    """A text with the fields ``{instruction}``, ``{response}``, ``{lowest}`` and ``{highest}``.

    Every other brace stands for itself, and fields inside the texts of an example are not filled in.
    ``reply`` says how to reply, at the end of a chat's question.
    """

    text: str
    is_chat: bool
    reply: str = REPLY
    answers: tuple[int, ...] = ()

    def about(self, example: Example) -> str:
        """Return the text for one example; of a conversation, all before the last turn is the instruction.

        Under a chat format it ends in how to reply. Raises `ExampleFailure` for an example without a
        prompt where the question needs one, and for content that has no text form.
        """
        values = {}
        if self.answers:
            values = {"lowest": str(self.answers[0]), "highest": str(self.answers[-1])}
        if "{instruction}" in self.text:
            values["instruction"] = history_text(example.messages[:-1])
        if "{response}" in self.text:
            values["response"] = turn_text(example.messages[-1])
        reply = _fill(self.reply, values) if self.is_chat else ""
        return _fill(self.text, values) + reply


def asked_about(question: Question, chat: ChatOptions | None) -> Callable[[Example], str]:
    """Return `Question.about`, of examples without their reasoning where ``--reasoning drop`` says so."""
    if chat is None or chat.reasoning != "drop":
        return question.about
    return lambda example: question.about(without_reasoning(example))


def check_question(field: str, text: str) -> None:
    """Raise `ConfigError` for a question that would be the same for every example."""
    if "{instruction}" not in text and "{response}" not in text:
        raise ConfigError(
            f"{field} has neither {{instruction}} nor {{response}}, so every example would be asked "
            f"the same: {text[:80]!r}; write them where the example's texts belong"
        )


def read_question(field: str, file: str) -> str:
    """Return the text of a question's file; raise `ConfigError` or `DataError` if it cannot be read."""
    path = Path(file).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error}); save the prompt as UTF-8") from error
    except OSError as error:
        raise ConfigError(
            f"{field} names the file {file!r}, which cannot be read: {error.strerror or error}; "
            f"give an existing file after {FILE_MARK}, or the prompt itself"
        ) from error


def file_of(prompt: str) -> str | None:
    """Return the file that a prompt names, or None for a prompt that is a text."""
    return prompt.removeprefix(FILE_MARK) if prompt.startswith(FILE_MARK) else None


def question_files(field: str, prompt: str) -> dict[str, str]:
    """Return the hash of the file that a prompt names, by its name, for the key of the scores."""
    file = file_of(prompt)
    if file is None:
        return {}
    text = read_question(field, file)
    check_question(field, text)
    return {file: text_hash(text)}


def question_text(field: str, prompt: str, hashes: Mapping[str, str]) -> str:
    """Return the text of a prompt; raise `DataError` if its file is no longer what ``hashes`` say."""
    file = file_of(prompt)
    if file is None:
        return prompt
    text = read_question(field, file)
    if hashes.get(file, now := text_hash(text)) != now:
        raise DataError(
            f"{file} changed after scoring began, so the scores would be of another question than "
            "they are kept under; run the same command again"
        )
    return text


def continued(
    name: str,
    question: Question,
    opening: str,
    context: LoadContext,
    tokenizer: Any,
    limit: int | None,
) -> Callable[[Example], list[int]]:
    """Return a function from an example to the token ids that a local model continues.

    Under a chat format they end in ``opening``. The function raises `ExampleFailure` for a prompt of
    more than ``limit`` tokens. Raises `ModelError` for a tokenizer without the chat template needed.
    """
    chat = context.chat
    if question.is_chat and not (tokenizer.chat_template or (chat and chat.template)):
        raise ModelError(
            f"the tokenizer of judge {context.model!r} has no chat template, which "
            f"{name}.format=chat needs; use an instruction-tuned model, or let the judge continue "
            f"the question as text: --set {name}.format=text"
        )
    about = asked_about(question, chat)
    prompter = Prompter(tokenizer, CHAT if question.is_chat else "plain", chat)

    def prompt(example: Example) -> list[int]:
        text = about(example)
        if question.is_chat:
            ids = prompter.ids([{"role": "user", "content": text}], None, opening)
        else:
            ids = prompter.text_ids(text)
        if limit is not None and len(ids) > limit:
            raise ExampleFailure(PROMPT_EXCEEDS_CONTEXT)
        return ids

    return prompt


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: values.get(match[1], match[0]), text)
