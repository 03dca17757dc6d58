"""One rendering of a conversation tells what rendering each of its beginnings would have written."""

import importlib.util
import random
from pathlib import Path

import pytest

from curate.contracts import Example
from curate.errors import ExampleFailure
from curate.models.load import load_tokenizer
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions
from curate.models.text.template_code import TemplateCode, compile_template

OWN = sorted((Path(__file__).resolve().parents[1] / "chat_templates").glob("*.jinja"))
LOOP = "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
END = "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"

# Templates whose text of a beginning depends on what follows it, each in its own way.
AHEAD = {
    "last": LOOP + "{% if loop.last %}!{% endif %}" + END,
    "last by item": LOOP + "{% if loop['last'] %}!{% endif %}" + END,
    "length": LOOP + "{{ loop.length }}" + END,
    "from the end": LOOP + "{{ loop.revindex }}" + END,
    "next": LOOP + "{{ loop.nextitem.role }}" + END,
    "next by number": LOOP + "{{ messages[loop.index0 + 1].role }}" + END,
    "before by number": LOOP + "{{ messages[loop.index0 - 1].role }}" + END,
    "two ahead": LOOP + "{{ messages[loop.index0 + 2].role }}" + END,
    "count": "{{ messages | length }}" + LOOP + END,
    "last message": "{{ messages[-1].role }}" + LOOP + END,
    "third": "{{ messages[2].role }}" + LOOP + END,
    "third of the tail": "{% set rest = messages[1:] %}{{ rest[1].role }}" + LOOP + END,
    "tail": "{% set messages = messages[1:] %}" + LOOP + END,
    "tail after a system turn": (
        "{% if messages[0].role == 'system' %}{% set messages = messages[1:] %}{% endif %}"
        + LOOP + END
    ),
    "all in a macro": "{% macro f(x) %}{{ x | length }}{% endmacro %}" + LOOP + "{{ f(messages) }}" + END,
    "loop handed on": "{% macro f(x) %}{{ x.length }}{% endmacro %}" + LOOP + "{{ f(loop) }}" + END,
    "counted before": (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
        + LOOP + "{{ ns.n }}" + END
    ),
    "counted after": (
        "{% set ns = namespace(n=0) %}" + LOOP + "{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    ),
    "prompt by state": (
        "{% set ns = namespace(r='') %}" + LOOP + "{% set ns.r = m.role %}{% endfor %}"
        "{% if add_generation_prompt and ns.r == 'user' %}<assistant>{% endif %}"
    ),
    "prompt inside": (
        LOOP + "{% if loop.last and add_generation_prompt %}<assistant>{% endif %}{% endfor %}"
    ),
    "prompt changes all": (
        "{% for m in messages %}{{ 1 if add_generation_prompt else 2 }}{{ m.content }}" + END
    ),
    "some only": "{% for m in messages if m.role != 'system' %}{{ m.content }}" + END,
    "backwards": "{% for m in messages | reverse %}{{ m.content }}" + END,
    "twice": LOOP + END + LOOP + END,
    "end of all": LOOP + "{% endfor %}{% if add_generation_prompt %}<assistant>{% else %}#{% endif %}",
    "cut short": LOOP + "{% if loop.index0 == 2 %}{% break %}{% endif %}" + END,
    "two before": LOOP + "{{ loop.previtem.role }}{{ loop.first }}" + END,
    "raises late": LOOP + "{% if loop.index > 2 %}{{ raise_exception('no') }}{% endif %}" + END,
    "sum of anything": LOOP + "{{ 1 + loop.index0 + 2 }}{{ [1] + [2] }}{{ 'a' + m.role + 'b' }}" + END,
}  # fmt: skip

# What stands in generation marks is written without them in one rendering.
MARK, UNMARK = "{% generation %}", "{% endgeneration %}"
MARKED = {
    "content": "{% for m in messages %}" + MARK + "{{ m.content }}#" + UNMARK + END,
    "own name": LOOP + MARK + "{% set x = 1 %}{{ x }}" + UNMARK + "{{ x is defined }}" + END,
    "name of outside": (
        "{% set x = 1 %}" + LOOP + MARK + "{{ x }}{% set x = 2 %}{{ x }}" + UNMARK + "{{ x }}" + END
    ),
    "namespace": (
        "{% set ns = namespace(n=0) %}"
        + LOOP + MARK + "{% set ns.n = ns.n + 1 %}{{ ns.n }}" + UNMARK + "{{ ns.n }}" + END
    ),
    "position": LOOP + MARK + "{{ loop.index0 }}{{ loop.first }}" + UNMARK + END,
    "last": LOOP + MARK + "{% if loop.last %}!{% endif %}" + UNMARK + END,
    "loop inside": LOOP + MARK + "{% for c in m.role %}{{ c }}{{ loop.index }}{% endfor %}" + UNMARK + END,
    "in a condition": (
        "{% for m in messages %}{% if m.role == 'assistant' %}" + MARK + "{{ m.content }}" + UNMARK
        + "{% else %}{{ m.content }}{% endif %}" + END
    ),
    "around another call": (
        "{% macro f() %}({{ caller() }}){% endmacro %}"
        + LOOP + MARK + "{% call f() %}{{ m.role }}{% endcall %}" + UNMARK + END
    ),
    "raises": LOOP + MARK + "{% if loop.index > 2 %}{{ raise_exception('no') }}{% endif %}" + UNMARK + END,
}  # fmt: skip


def rows(chat, messages, turns="all"):
    try:
        return chat.rows(Example("0" * 32, tuple(messages)), turns)
    except ExampleFailure as failure:
        return failure.reason


def conversation(seed):
    """A conversation of any order of roles that ends with the assistant."""
    draw = random.Random(seed)
    roles = [draw.choice(["user", "assistant", "tool"]) for _ in range(draw.randrange(6))]
    roles = [*draw.choice([[], ["system"]]), *roles, "assistant"]
    return [{"role": role, "content": f"{role} {n}."} for n, role in enumerate(roles)]


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer):
    return load_tokenizer(str(tiny_tokenizer))


def check(tokenizer, source, monkeypatch, n=12):
    """Compare one rendering with the plain rule: each beginning rendered by itself, each time."""
    chat = ChatTemplate(tokenizer, ChatOptions(template=source))
    talks = [conversation(seed) for seed in range(n)]
    found = [rows(chat, talk) for talk in talks]
    with monkeypatch.context() as plainly:
        plainly.setattr(TemplateCode, "beginnings", lambda *_: None)
        expected = [rows(ChatTemplate(tokenizer, ChatOptions(template=source)), t) for t in talks]
    assert found == expected
    code = compile_template(source)
    for talk in talks:
        try:
            told = code.beginnings(talk, None, {"bos_token": "<s>", "eos_token": "</s>"})
        except ExampleFailure:
            continue
        for k in range(1, len(talk) + 1) if told else ():
            for text, prompt in ((told.first(k), False), (told.asked(k), True)):
                if text is not None:
                    given = {"bos_token": "<s>", "eos_token": "</s>"}
                    plain = code.render(talk[:k], None, given, prompt=prompt)
                    assert plain.startswith(text) and (prompt or plain == text)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_our_own_templates_write_the_same_rows_in_one_rendering(path, tokenizer, monkeypatch):
    check(tokenizer, path.read_text(), monkeypatch)


@pytest.mark.parametrize("name", AHEAD)
def test_a_template_that_looks_ahead_is_rendered_turn_by_turn(name, tokenizer, monkeypatch):
    check(tokenizer, AHEAD[name], monkeypatch)


@pytest.mark.parametrize("name", MARKED)
def test_generation_marks_change_nothing_of_one_rendering(name, tokenizer, monkeypatch):
    check(tokenizer, MARKED[name], monkeypatch)


@pytest.mark.slow
def test_trl_s_templates_write_the_same_rows_in_one_rendering(tokenizer, monkeypatch):
    spec = importlib.util.find_spec("trl")
    if spec is None:
        pytest.skip("trl is not installed")
    for path in sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja")):
        check(tokenizer, path.read_text(), monkeypatch, n=2)


@pytest.mark.parametrize(("name", "renderings"), [("plain", 1), ("last_end_differs", 1 + 2 + 3)])
def test_a_conversation_is_rendered_as_often_as_it_has_to_be(
    name, renderings, tokenizer, monkeypatch
):
    source = next(path.read_text() for path in OWN if path.stem == name)
    chat = ChatTemplate(tokenizer, ChatOptions(template=source))
    talk = [{"role": role, "content": f"{role}."} for role in ["user", "assistant"] * 3]
    rows(chat, talk)  # the prompt and the end of a turn are looked up once
    runs = []
    for way in ("render", "beginnings"):
        plain = getattr(TemplateCode, way)
        monkeypatch.setattr(
            TemplateCode, way, lambda *a, plain=plain, **k: runs.append(1) or plain(*a, **k)
        )
    assert not isinstance(rows(chat, talk), str)
    assert sum(runs) == renderings
