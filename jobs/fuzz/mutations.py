"""Hostile values and damaged bytes, drawn from random numbers."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

TEXTS: Final = (
    "", " ", "a", "null", "NaN", "true", "0", "-1", "1e999", "\0", "\x1b[2J", "\r", "\n", "\r\n", "\u2028",
    "\ufeff", "\ufffe", "\U0001f600", "\u202e", "e\u0301", "\ud800", "\udc00\ud800", "[", "{", "[]", "{}", "[{",
    '[{"role": "user"}]', '"', "'", "''", "\\", "\\u", "../../x", "/etc/passwd", "~", "C:\\", "%s%n", "{0}",
    "{{ 1 }}", "{% for %}", "<script>", "'; drop table examples; --", "\t", ",", ";", "|", "`", "$(id)",
    "Human: a\n\nAssistant: b", "<image>", "<think>", "</think>", "user", "assistant", "x" * 5_000,
)  # fmt: skip
NUMBERS: Final = (
    0, -0.0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400, 0.1, 1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
KEYS: Final = (
    "messages", "conversations", "role", "content", "from", "value", "prompt", "completion", "response",
    "responses", "instruction", "input", "output", "system", "tools", "tool_calls", "function", "arguments",
    "name", "type", "text", "id", "source", "group_id", "chosen", "rejected", "weight", "train", "images",
    "reasoning_content", "thinking", "tool_call_id", "function_call", "chat_template_kwargs", "history",
    "question", "answer", "", "\0", "a.b", "record", "curate_id",
)  # fmt: skip
_BYTES: Final = (0, 1, 9, 10, 13, 34, 44, 0x5C, 0x7B, 0x5B, 0x7F, 0x80, 0xC0, 0xED, 0xF5, 0xFF)
_TOKENS: Final = (
    b"\0", b"\r", b"\n", b"\r\n", b'"', b'""', b"\\", b"\\u", b"\\ud800", b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"}",
    b"[", b"]", b",", b":", b"NaN", b"-Infinity", b"1e400", b"\xed\xa0\x80", b"\xc0\x80", b"'", b"- ", b"&a ",
    b"*a ", b"!!python/object:os.system ", b"<<: ", b"%", b"{%", b"{{", b"(", b")",
)  # fmt: skip


def value(rng: Random, depth: int = 3) -> Any:
    """Return a value of JSON, now and then nested beyond any recursion limit."""
    kind = rng.random()
    if depth <= 0 or kind < 0.45:
        return rng.choice(TEXTS)
    if kind < 0.6:
        return rng.choice(NUMBERS)
    if kind < 0.7:
        return rng.choice((None, True, False))
    if kind < 0.85:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind < 0.99:
        return {key(rng): value(rng, depth - 1) for _ in range(rng.randrange(4))}
    return nested(rng.choice((50, 200, 900)))


def nested(depth: int) -> Any:
    """Return lists in lists."""
    held: Any = []
    for _ in range(depth):
        held = [held]
    return held


def key(rng: Random) -> str:
    """Return a key that a reader knows, or any text."""
    return rng.choice(KEYS if rng.random() < 0.8 else TEXTS)


def changed(rng: Random, held: Any, chance: float = 0.1) -> Any:
    """Return a value with some of what it holds replaced, dropped, repeated or renamed."""
    if rng.random() < chance:
        return value(rng)
    if isinstance(held, dict):
        pairs = [(k, changed(rng, v, chance)) for k, v in held.items() if rng.random() > chance / 3]
        return {key(rng) if rng.random() < chance / 3 else k: v for k, v in pairs}
    if isinstance(held, list):
        items = [changed(rng, item, chance) for item in held if rng.random() > chance / 3]
        return items + items[:1] if rng.random() < chance / 3 else items
    return held


def json_bytes(rng: Random, held: Any) -> bytes:
    """Write a value as JSON in one of the ways there are; half characters as the bytes they have."""
    text = json.dumps(
        held, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, None, 1))
    )
    return text.encode("utf-8", "surrogatepass")


def damaged(rng: Random, content: bytes, times: Sequence[int] = (1, 1, 2, 8)) -> bytes:
    """Return bytes with bits flipped, spans cut, repeated or moved, and odd words put in."""
    held = bytearray(content or b"\n")
    for _ in range(rng.choice(times)):
        if not held:
            break
        at, kind = rng.randrange(len(held)), rng.randrange(8)
        end = min(len(held), at + rng.choice((1, 2, 7, 64, 1_000)))
        if kind == 0:
            held[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            held[at] = rng.choice(_BYTES)
        elif kind == 2:
            del held[at:end]
        elif kind == 3:
            held[at:at] = held[at:end] * rng.choice((1, 1, 3, 50))
        elif kind == 4:
            held[at:at] = rng.choice(_TOKENS) * rng.choice((1, 1, 2, 30))
        elif kind == 5:
            del held[at:]
        elif kind == 6:
            span = bytes(held[at:end])
            del held[at:end]
            to = rng.randrange(len(held) + 1)
            held[to:to] = span
        else:
            held[at:end] = bytes(rng.randrange(256) for _ in range(end - at))
    return bytes(held)
