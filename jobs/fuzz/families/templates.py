"""Chat templates: loops, filters and methods that need any time or memory, and broken Jinja."""

from pathlib import Path
from random import Random
from typing import Any, Final

from curate.errors import ExampleFailure
from curate.models.text.template_code import compile_template
from jobs.fuzz.family import READ, REFUSED, Attack, Family
from jobs.fuzz.mutations import TEXTS, damaged

_WHOLE: Final = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}",
    ("{{ bos_token }}{% for m in messages %}{% if loop.first and m.role == 'system' %}{{ m.content | trim }}{% elif"
    " m.role == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"),
    ("{%- set ns = namespace(last=-1) -%}{% for m in messages[::-1] %}{% set ns.last = loop.index0 %}{% endfor %}"
    "{% macro show(x) %}{{ x | tojson }}{% endmacro %}{% for m in messages %}{{ show(m) }}{% endfor %}"),
)  # fmt: skip
_VALUES: Final = (
    "'ab'", "''", "10**6", "10**9", "-1", "messages", "messages[0]", "range(99999)", "'a' * 10**6", "none", "ns",
    "ns.s", "dict(a=1)", "loop", "self", "cycler('a', 'b')", "joiner(',')", "lipsum", "m", "strftime_now('%Y')",
    "raise_exception('no')", "().__class__", "messages.__class__.__mro__", "''.format", "1.5", "[1, 2, 3]", "true",
)  # fmt: skip
_CALLS: Final = (
    "{}.replace('', {})", "{}.join({})", "{}.ljust({})", "{}.center({})", "{}.zfill({})", "{}.expandtabs({})",
    "'{{:{{}}}}'.format({}, {})", "'%*d' % ({}, {})", "{}.split({})", "{}.encode({})", "{}.append({})", "{} ~ {}",
    "{} + {}", "{} * {}", "{} ** {}", "{}[{}:]", "{} in {}", "{} if {} else 1", "{} is sameas {}", "{} // {}",
    "{} | list", "{} | center({})", "{} | indent({})", "{} | wordwrap({})", "{} | join({})", "{} | replace('', {})",
    "{} | batch({}) | list", "{} | slice({}) | list", "{} | tojson(indent={})", "{} | format({})", "{} | sort",
    "{} | sum", "{} | string", "{} | length", "{} | truncate({})", "{} | map({}) | list", "{} | attr({})",
    "{} | groupby({})", "{} | urlize", "{} | xmlattr", "{} | pprint", "{} | round({})", "{} | filesizeformat",
    "{}.update({})", "{}.format_map({})", "{} | random", "lipsum(n={})", "range({}, {})",
)  # fmt: skip
_LOOPS: Final = (
    "{{% set ns = namespace(s='a') %}}{{% for i in range({n}) %}}{{% set ns.s = {e} %}}{{% endfor %}}{{{{ ns.s | length }}}}",
    "{{% for i in range({n}) %}}{{{{ {e} }}}}{{% endfor %}}",
    "{{% for i in range({n}) recursive %}}{{{{ loop([1]) }}}}{{% endfor %}}",
    "{{% macro m(x) %}}{{{{ m({e}) }}}}{{% endmacro %}}{{{{ m(1) }}}}",
    "{{% set x = {e} %}}{{{{ x }}}}",
    "{{% call(x) messages() %}}{{{{ {e} }}}}{{% endcall %}}",
    "{{% filter upper %}}{{{{ {e} }}}}{{% endfilter %}}",
    "{{% set x %}}{{{{ {e} }}}}{{% endset %}}{{{{ x ~ x }}}}",
    "{{% block b %}}{{{{ self.b() }}}}{{{{ {e} }}}}{{% endblock %}}",
    "{{% include {e} %}}", "{{% extends {e} %}}", "{{% import {e} as x %}}", "{{{{ {e} }}}}",
)  # fmt: skip
_TURNS: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b", "tool_calls": []},
]  # fmt: skip


def _expression(rng: Random, depth: int = 2) -> str:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(_VALUES)
    call = rng.choice(_CALLS)
    return call.format(*(_expression(rng, depth - 1) for _ in range(call.count("{}"))))


def _make(rng: Random) -> Attack:
    kind = rng.random()
    if kind < 0.6:
        text = rng.choice(_LOOPS).format(n=rng.choice((3, 60, 99_999)), e=_expression(rng))
    elif kind < 0.7:
        n = rng.choice((50, 500, 5_000))
        text = rng.choice(("{% if 1 %}" * n, "{{ " + "(" * n, "{{ " + "-" * n + "1 }}", "{{ 1" + " + 1" * n + " }}",
                           "{{ 'a'" + " ~ 'a'" * n + " }}", "{{ a" + ".b" * n + " }}", "{# " * n, "{{" * n,
                           "{% for a in 'ab' %}" * min(n, 19) + "x" + "{% endfor %}" * min(n, 19)))  # fmt: skip
    else:
        text = rng.choice(_WHOLE) + rng.choice(TEXTS)
    content = text.encode("utf-8", "surrogatepass")
    return Attack(damaged(rng, content) if rng.random() < 0.4 else content, "template.jinja")


def _read(path: Path, folder: Path) -> str:
    del folder
    code = compile_template(path.read_bytes().decode("utf-8", "surrogateescape"))
    try:
        code.render(_TURNS, None, {"bos_token": "<s>"}, prompt=True)
        code.beginnings(_TURNS, None, {"bos_token": "<s>"})
        code.marked(_TURNS, None, {"bos_token": "<s>"})
    except ExampleFailure as failure:
        assert failure.reason.startswith(("template_error", "template_timeout"))
        return REFUSED
    return READ


FAMILY: Final = Family("templates", _make, _read)
