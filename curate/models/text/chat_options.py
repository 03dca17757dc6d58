"""How conversations go through a chat template: what the user chose besides the template itself."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from curate.errors import ConfigError
from curate.models.text.masks import CURATE, MASKS

_PARTS: Final = re.compile(r"""(?:\[[^\]]*\]|\{[^}]*\}|"[^"]*"|[^,])+""")
REASONING_CHOICES: Final = ("inline", "drop", "fail")


@final
@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Choices that decide what a chat template writes; small, hashable and picklable.

    Parameters
    ----------
    reasoning
        What becomes of reasoning that the template does not write: ``inline`` puts it in front of
        the content in the model's own think tags, ``drop`` leaves it out, ``fail`` fails those
        examples alone. None is for a command that has to ask.
    arguments
        JSON object of what ``--template-args`` passes to the template.
    template
        Source that stands in for the model's own template, or None.
    mask
        Whose rule decides which tokens are scored: ``curate``, ``trl`` or ``llama-factory``.
    from_trl
        Whether TRL's training template for this model stands in for the model's own.
    """

    reasoning: str | None = None
    arguments: str = "{}"
    template: str | None = None
    mask: str = CURATE
    from_trl: bool = False

    @classmethod
    def of(
        cls,
        reasoning: str | None = None,
        template_args: Mapping[str, str] | None = None,
        chat_template: str | None = None,
        mask: str | None = None,
        *,
        from_trl: bool = False,
    ) -> "ChatOptions":
        """Return checked options from what a user typed.

        Values of ``template_args`` are JSON where they parse as such (``false``, ``3``), else text.
        ``chat_template`` names a file. Raises `ConfigError` for an unknown choice or a missing file.
        """
        if reasoning is not None and reasoning not in REASONING_CHOICES:
            raise ConfigError(
                f"--reasoning must be one of {', '.join(REASONING_CHOICES)}, got {reasoning!r}"
            )
        if mask is not None and mask not in MASKS:
            raise ConfigError(f"--mask must be one of {', '.join(MASKS)}, got {mask!r}")
        if from_trl and chat_template is not None:
            raise ConfigError(
                f"--template trl and --chat-template {chat_template!r} both name a chat template; "
                "leave one of them out"
            )
        values = {name: _value(text) for name, text in (template_args or {}).items()}
        source = None if chat_template is None else _read(chat_template)
        arguments = json.dumps(values, sort_keys=True)
        return cls(reasoning, arguments, source, mask or CURATE, from_trl)

    @property
    def template_args(self) -> dict[str, Any]:
        """Arguments of the template by name."""
        decoded: dict[str, Any] = json.loads(self.arguments)
        return decoded

    @property
    def key(self) -> str:
        """What a score key says about these choices besides the template's hash; "" for the defaults."""
        parts = [] if self.reasoning in (None, "fail") else [f"reasoning={self.reasoning}"]
        parts += [] if self.arguments == "{}" else [f"args={self.arguments}"]
        parts += [] if self.mask == CURATE else [f"mask={self.mask}"]
        return "".join(f";{part}" for part in parts)

    @property
    def identity(self) -> dict[str, Any]:
        """What a stored identity says about these choices: what 0.1 knew, and all else but defaults."""
        fields = {
            "reasoning": self.reasoning,
            "arguments": self.arguments,
            "template": self.template,
        }
        fields |= {} if self.mask == CURATE else {"mask": self.mask}
        return fields | ({"from_trl": True} if self.from_trl else {})


def of_any_model(chat: ChatOptions | None) -> ChatOptions:
    """Return of the options for a scored model what holds for any other too: what becomes of reasoning."""
    return ChatOptions(reasoning=None if chat is None else chat.reasoning)


def arguments_of(text: str | None) -> dict[str, str]:
    """Read ``key=value,...``, in which a value that holds commas is JSON; raise `ConfigError`."""
    if text is None:
        return {}
    arguments: dict[str, str] = {}
    for part in _PARTS.findall(text):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise ConfigError(
                f"--template-args takes key=value,..., got {part!r}; type enable_thinking=false"
            )
        arguments[name.strip()] = value.strip()
    return arguments


def reasoning_question(n_examples: int, model: str) -> str:
    """Say that a chat template would lose the reasoning of some examples, and what to type."""
    return (
        f"{n_examples:,} examples have reasoning that the chat template of {model!r} does not write; "
        "choose with --reasoning inline (in the model's own think tags before the content), drop "
        "(leave it out) or fail (fail only those examples)"
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _read(file: str) -> str:
    try:
        source = Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the chat template {file!r} cannot be read ({error}); give a Jinja file"
        ) from error
    if not source.strip():
        raise ConfigError(f"the chat template {file!r} is empty; give a Jinja file")
    return source
