"""Every shape of conversation through every kind of chat template: scored right, or refused.

``python tests/test_curate/test_models/test_text/test_chat_corpus.py`` writes the table of verdicts to
``reports/templates.md``.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from curate.contracts import Example, Rendering
from curate.models.load import load_tokenizer
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import Renderer

OWN = Path(__file__).resolve().parent / "chat_templates"
REPORT = Path(__file__).resolve().parents[4] / "reports" / "templates.md"
NAMED = re.compile(
    "(content|reasoning|tool_call|message)_not_rendered|template_not_prefix_stable"
    "|generation_prompt_closes_reasoning|template_error: .+|control_token_in_text"
    "|no_scored_tokens|content_is_not_text"
)

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "get_tide",
            "description": "Height of the tide",
            "parameters": {"type": "object", "properties": {"port": {"type": "string"}}},
        },
    },
)


def user(content):
    return {"role": "user", "content": content}


def says(content, **more):
    return {"role": "assistant", "content": content, **more}


def calls(*arguments, **more):
    made = [
        {"id": f"c{n}", "type": "function", "function": {"name": "get_tide", "arguments": one}}
        for n, one in enumerate(arguments)
    ]
    return {"role": "assistant", "tool_calls": made, **more}


SYSTEM = {"role": "system", "content": "Be brief."}
RESULT = {"role": "tool", "tool_call_id": "c0", "name": "get_tide", "content": "0.1 m"}
FISH = [user("Name a fish."), says("A trout.")]
SUM = [user("1+1?"), says("It is 2.", reasoning_content="I add one to one.")]
SHAPES = {
    "one turn": FISH,
    "two turns": [*FISH, user("And a bird?"), says("A wren.")],
    "three turns": [*FISH, user("A bird?"), says("A wren."), user("A tree?"), says("An elm.")],
    "system": [SYSTEM, *FISH],
    "system, two turns": [SYSTEM, *FISH, user("And a bird?"), says("A wren.")],
    "reasoning": SUM,
    "reasoning, two turns": [
        user("Hello"), says("Hi.", reasoning_content="A greeting."), *SUM,
    ],
    "reasoning in the last of two": [*FISH, *SUM],
    "think tags": [user("1+1?"), says("<think>\nI add one to one.\n</think>\n\nIt is 2.")],
    "think tags, two turns": [
        user("Hello"), says("<think>\nA greeting.\n</think>\n\nHi."),
        user("1+1?"), says("<think>\nI add one to one.\n</think>\n\nIt is 2."),
    ],
    "call": [user("Tide?"), calls({"port": "Brest"})],
    "two calls": [user("Tides?"), calls({"port": "Brest"}, {"port": "Dover"})],
    "call and answer": [user("Tide?"), calls({"port": "Brest"}), RESULT, says("It is 0.1 m.")],
    "call in text": [user("Tide?"), calls('{"port": "Brest"}'), RESULT, says("It is 0.1 m.")],
    "call with reasoning": [
        user("Tide?"), calls({"port": "Brest"}, reasoning_content="I look it up."),
        RESULT, says("It is 0.1 m.", reasoning_content="The tool said so."),
    ],
    "parts": [
        user([{"type": "text", "text": "Name a "}, {"type": "text", "text": "river."}]),
        says([{"type": "text", "text": "The Loire."}]),
    ],
    "assistant first": [says("Welcome."), *FISH],
    "two users": [user("Hello"), user("Name a fish."), says("A trout.")],
    "two assistants": [user("Name a fish."), says("Well."), says("A trout.")],
    "blanks": [user("Name a fish."), says("  A trout.\n")],
    "empty turn": [user("Hello"), says(""), *FISH],
    "image": [user([{"type": "image_url", "image_url": "u"}]), says("A trout.")],
    "control token": [user("Name <|end|> a fish."), says("A trout.")],
}  # fmt: skip


def trl_templates():
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        return []
    return sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))


def plain(message):
    """One message as the rule's reader has it: text for content, objects for arguments."""
    out = dict(message)
    content = out.get("content") or ""
    out["content"] = (
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    )
    if "tool_calls" in out:
        out["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": arguments(call)}}
            for call in out["tool_calls"]
        ]
    return out


def arguments(call):
    given = call["function"]["arguments"]
    return json.loads(given) if isinstance(given, str) else given


def told(message):
    """What a message says, in order, without any code of the library."""
    content = plain(message)["content"]
    thought = message.get("reasoning_content", "")
    if "</think>" in content:
        thought, content = content.replace("<think>", "").split("</think>")
    texts = [thought.strip(), content.strip()]
    for call in message.get("tool_calls", ()):
        texts += [call["function"]["name"], *map(str, arguments(call).values())]
    return [text for text in texts if text]


def in_order(texts, whole):
    at = 0
    for text in texts:
        at = whole.find(text, at)
        if at < 0:
            return False
        at += len(text)
    return True


def check_turn(tokenizer, source, messages, i, tools, context, scored):
    """Hold one scored turn against the rule, by transformers' own rendering."""
    assert in_order(told(messages[i]), scored), "something the turn says is not scored"
    for other in messages[:i]:
        if other["role"] != "assistant":
            assert in_order(told(other)[:1], context) or other["role"] == "tool"
    has_thought = bool(messages[i].get("reasoning_content")) or "</think>" in str(
        messages[i].get("content")
    )
    if not has_thought:
        assert "think>" not in scored, "an empty think block is scored"
    ways = []
    for way in (plain, split, listed):
        try:
            given = [way(message) for message in messages[: i + 1]]
            prompt = render(tokenizer, source, given[:-1], tools, True) if i else None
            full = render(tokenizer, source, given, tools, False)
        except Exception:  # noqa: BLE001, S112 - a template may refuse one way of giving the same words
            continue
        if in_order(told(messages[i]), full):
            ways.append((prompt, full))
    assert ways or "tool_calls" in str(messages), "scored, though it is in no rendering"
    if i == 0 or not ways:
        return
    assert any(context.startswith(prompt) for prompt, _ in ways) or (
        not has_thought and any(is_with_empty_thought(context, *way) for way in ways)
    ), "not the context of inference"
    rests = [full[len(context) :] for _, full in ways if full.startswith(context)]
    assert not rests or any(ends_right(scored, rest, messages[i]) for rest in rests)


def is_with_empty_thought(context, prompt, full):
    """Whether a context is that of a turn without reasoning, its empty think block included."""
    return full.startswith(context) and "".join(context.split()).endswith("<think></think>")


def ends_right(scored, rest, message):
    """Whether what follows a context is what is scored, but for what comes after the end of turn."""
    if not rest.startswith(scored):
        return False
    texts = told(message)
    tail = rest[rest.rfind(texts[-1]) + len(texts[-1]) :] if texts else rest
    if not tail.strip():  # no end of turn: blanks are all there is
        return scored == rest
    return scored == scored.rstrip() and rest[len(scored) :][:1] in ("", "\n", " ")


def split(message):
    out = plain(message)
    if out["role"] == "assistant" and "</think>" in out["content"]:
        thought, content = out["content"].replace("<think>", "").split("</think>")
        out |= {"reasoning_content": thought.strip(), "content": content.strip()}
    return out


def listed(message):
    out = plain(message)
    return {**out, "content": [{"type": "text", "text": out["content"]}]}


def render(tokenizer, source, messages, tools, prompt):
    return tokenizer.apply_chat_template(
        messages, tools=tools, chat_template=source, tokenize=False, add_generation_prompt=prompt
    )


def verdict(tokenizer, source, shape, choice=None):
    """Render a shape; check what is scored; return the number of rows, or the reason of a refusal."""
    messages = SHAPES[shape]
    tools = TOOLS if "call" in shape else None
    renderer = Renderer(tokenizer, None, ChatOptions(choice, template=source))
    example = Example("0" * 32, tuple(messages), tools)
    (rendered,) = renderer.render([example], Rendering("chat"))
    if isinstance(rendered, str):
        assert NAMED.fullmatch(rendered), rendered
        return rendered
    rows = renderer.chat.rows(example, "all")
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    spans = [(row.text, start, stop) for row in rows for start, stop in row.spans]
    assert len(spans) == len(turns)
    if choice is None:
        dynamic = "strftime_now" in source
        for i, (text, start, stop) in zip(turns, spans, strict=True):
            if not dynamic:
                listed = [dict(tool) for tool in tools] if tools else None
                check_turn(tokenizer, source, messages, i, listed, text[:start], text[start:stop])
    assert len(rendered.starts) == len(rows)
    return f"{len(rows)}"


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer):
    return load_tokenizer(str(tiny_tokenizer))


@pytest.mark.parametrize("path", sorted(OWN.glob("*.jinja")), ids=lambda path: path.stem)
def test_every_shape_is_scored_by_the_rule_or_refused(path, tokenizer):
    for shape in SHAPES:
        verdict(tokenizer, path.read_text(), shape)


@pytest.mark.slow
def test_trl_s_templates_score_every_shape_by_the_rule_or_refuse_it(tokenizer):
    paths = trl_templates()
    if not paths:
        pytest.skip("trl is not installed")
    for path in paths:
        for shape in SHAPES:
            verdict(tokenizer, path.read_text(), shape)


@pytest.mark.parametrize(
    ("template", "shape", "expected"),
    [
        ("plain", "two turns", "1"),
        ("strips_earlier_thinking", "two turns", "2"),
        ("strips_earlier_thinking", "reasoning, two turns", "2"),
        ("strips_earlier_thinking", "call with reasoning", "1"),
        ("last_end_differs", "three turns", "3"),
        ("moves_system", "system, two turns", "2"),
        ("opens_thinking", "two turns", "2"),
        ("empty_think_in_prompt", "two turns", "2"),
        ("empty_think_in_prompt", "reasoning", "generation_prompt_closes_reasoning"),
        ("strips_all_thinking", "reasoning", "reasoning_not_rendered"),
        ("plain", "reasoning", "reasoning_not_rendered"),
        ("plain", "think tags", "1"),
        ("plain", "call", "tool_call_not_rendered"),
        ("plain", "parts", "1"),
        ("parts_only", "one turn", "1"),
        ("tools_in_system", "call in text", "1"),
        ("text_arguments", "call and answer", "1"),
        ("drops_tool_calls", "call and answer", "tool_call_not_rendered"),
        ("drops_system", "system", "message_not_rendered"),
        ("no_system", "system", "template_error: this model takes no system message"),
        ("alternation", "two users", "template_error: turns must alternate"),
        ("merges_users", "two users", "1"),
        ("nothing", "one turn", "content_not_rendered"),
        ("raises", "one turn", "template_error: not today"),
        ("rewrites_history", "one turn", "template_not_prefix_stable"),
        ("plain", "image", "content_is_not_text"),
        ("plain", "control token", "control_token_in_text"),
    ],
)
def test_verdicts(template, shape, expected, tokenizer):
    assert verdict(tokenizer, (OWN / f"{template}.jinja").read_text(), shape) == expected


@pytest.mark.parametrize(
    ("template", "scored"),
    [
        ("plain", "<think>\nI add one to one.\n</think>\n\nIt is 2.<|end|>"),
        ("strips_all_thinking", "I add one to one.\n</think>\n\nIt is 2.</s>"),
        ("strips_earlier_thinking", "<think>\nI add one to one.\n</think>\n\nIt is 2.<|end|>"),
        ("no_end", "<think>\nI add one to one.\n</think>\n\nIt is 2.\n"),
    ],
)
def test_inline_reasoning_stands_where_the_model_would_write_it(template, scored, tokenizer):
    options = ChatOptions("inline", template=(OWN / f"{template}.jinja").read_text())
    chat = Renderer(tokenizer, None, options).chat
    (row,) = chat.rows(Example("0", tuple(SUM)), "all")
    ((start, stop),) = row.spans
    assert row.text[start:stop] == scored


def test_dropped_reasoning_is_in_no_row(tokenizer):
    for path in sorted(OWN.glob("*.jinja")):
        renderer = Renderer(tokenizer, None, ChatOptions("drop", template=path.read_text()))
        for shape in ("reasoning, two turns", "think tags, two turns"):
            try:
                rows = renderer.chat.rows(Example("0", tuple(SHAPES[shape])), "all")
            except Exception as failure:  # noqa: BLE001 - some templates refuse everything
                assert NAMED.fullmatch(str(failure))
                continue
            assert not any("I add" in row.text or "greeting" in row.text for row in rows)


def table(tokenizer):
    paths = [*sorted(OWN.glob("*.jinja")), *trl_templates()]
    lines = [
        "# Chat templates and what becomes of each shape of conversation", "",
        ("A number is how many rows the conversation is scored in, every assistant turn on exactly "
        "what the model has to produce (`docs/chat.md`); anything else is the reason for which the "
        "example is refused. No text is lost silently in any of them. Written by "
        "`python tests/test_curate/test_models/test_text/test_chat_corpus.py`."), "",
    ]  # fmt: skip
    counts = {"scored": 0, "refused": 0}
    for name, group in (("Our own", [p for p in paths if p.parent == OWN]), ("TRL's", paths)):
        chosen = [p for p in group if (p.parent == OWN) == (name == "Our own")]
        if not chosen:
            continue
        lines += [f"## {name} templates", "", "| template | shape | verdict |", "|---|---|---|"]
        for path in chosen:
            for shape in SHAPES:
                found = verdict(tokenizer, path.read_text(), shape)
                counts["scored" if found.isdigit() else "refused"] += 1
                said = f"{found} row{'' if found == '1' else 's'}" if found.isdigit() else found
                lines.append(f"| {path.stem} | {shape} | {said.replace('|', '&#124;')} |")
        lines.append("")
    lines.insert(4, f"{counts['scored']} scored, {counts['refused']} refused, 0 silent losses.\n")
    return "\n".join(lines)


if __name__ == "__main__":
    REPORT.write_text(table(load_tokenizer(sys.argv[1])), encoding="utf-8")
