"""Texts of examples on a page: invisible characters made visible, escaped, optionally on one line."""

import re
from html import escape
from typing import Final

# Characters that show nothing or change how their neighbours show: controls but tab and newline,
# format characters (zero width, direction, tags), fillers, variation selectors but the two that
# choose an emoji's form, line and paragraph separators, surrogates, private use, noncharacters.
_HIDDEN: Final = re.compile(
    "(["
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff"
    "])\\1*"
)
_SPACES: Final = re.compile(r"[ \t\n]+")
_MARKDOWN: Final = re.compile(r"([\\`*\[\]|~])")


def one_line(text: str, limit: int) -> str:
    """Return a text on one line, whitespace collapsed, with an ellipsis where it was cut."""
    line = _SPACES.sub(" ", text[: 4 * limit]).strip(" ")
    return line if len(line) <= limit and len(text) <= 4 * limit else f"{line[: limit - 1]}…"


def html(text: str) -> str:
    """Escape a text for HTML; hidden characters become their code points in a mark.

    Examples
    --------
    >>> html("<b>" + chr(0x200B) * 3)
    '&lt;b&gt;<i class=h>U+200B×3</i>'
    """
    shown = pieces(text)
    shown[::2] = [escape(piece) for piece in shown[::2]]
    shown[1::2] = [f"<i class=h>{name}</i>" for name in shown[1::2]]
    return "".join(shown)


def pieces(text: str) -> list[str]:
    """Split a text at hidden characters: visible text and code point names alternate.

    Examples
    --------
    >>> pieces("a" + chr(0x202E) + "b")
    ['a', 'U+202E', 'b']
    """
    parts, end = [], 0
    for hidden in _HIDDEN.finditer(text):
        parts += [text[end : hidden.start()], _name(hidden)]
        end = hidden.end()
    return [*parts, text[end:]]


def plain(text: str) -> str:
    """Return a text with hidden characters replaced by their code points in brackets.

    Examples
    --------
    >>> plain("a" + chr(0x202E) + "b")
    'a⟨U+202E⟩b'
    """
    return _HIDDEN.sub(lambda match: f"⟨{_name(match)}⟩", text)


def svg(text: str, limit: int) -> str:
    """Return a label of a chart: one line, cut, escaped."""
    return escape(plain(one_line(text, limit)))


def markdown(text: str) -> str:
    """Escape a text for a line or a table cell of Markdown: no HTML, no links, no code."""
    line = _SPACES.sub(" ", plain(text))
    return _MARKDOWN.sub(r"\\\1", escape(line, quote=False))


def fenced(text: str) -> str:
    """Return a text as a Markdown code block whose fence does not occur in it."""
    shown = plain(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _name(match: re.Match[str]) -> str:
    times = len(match[0])
    return f"U+{ord(match[1]):04X}" + (f"×{times}" if times > 1 else "")
