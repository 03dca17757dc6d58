"""Templates that compute too much are refused elsewhere (test_security); what they compute stays the same."""

import tracemalloc
from functools import partial

import pytest
from transformers.utils import chat_template_utils

from curate.errors import ExampleFailure, ModelError
from curate.models.text import template_code
from curate.models.text.template_limits import MAX_SIZE, size


def test_a_size_counts_what_stands_there_twice_as_often() -> None:
    assert size("abc") == 3
    held: object = "ab"
    for _ in range(60):
        held = [held, held]
    assert size(held) > MAX_SIZE


def test_what_templates_do_comes_out_as_before() -> None:
    source = (
        "{% for m in messages %}{{ m.role ~ ': ' ~ m['content'] | trim }}{{ '%5.1f|%s' % (1.25, 'a') }}"
        "{{ '{:>4}'.format(m.role | length) }}{{ [m.role, 1] | join('-') }}{{ (m.role, 2) }}"
        "{{ 'abc'.replace('b', 'xx') | center(9) }}{{ {'a': m.role} | tojson }}{{ 7.456 | round(1) }}{% endfor %}"
    )
    messages = [{"role": "user", "content": " hi "}]
    code = template_code.compile_template(source)
    plain = chat_template_utils._cached_compile_jinja_template(source)
    assert code.render(messages, None, {}, prompt=False) == plain.render(messages=messages)


@pytest.mark.parametrize(
    "template", ["{{ " + "(" * 5_000, "{{ " + "-" * 5_000 + "1 }}", "{{ a" + ".b" * 5_000 + " }}",
                 "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000, "{% for a in 'a' %}" * 40 + "{% endfor %}" * 40]
)  # fmt: skip
def test_a_template_nested_without_end_is_one_clear_error(template: str) -> None:
    with pytest.raises(ModelError, match="is nested too deeply to be compiled|is not valid Jinja"):
        template_code.compile_template(template)


def test_the_filter_for_web_pages_is_not_there() -> None:
    with pytest.raises(ModelError, match="line 1: No filter named 'urlize'"):
        template_code.compile_template("{{ messages[0].content | urlize }}")


LINE = "{{ 'a' * 10**6 }}"
LOOP = "{% for i in range(99999) %}" + LINE + "{% endfor %}"


@pytest.mark.parametrize(
    "template",
    [LOOP, f"{{% set x %}}{LOOP}{{% endset %}}{{{{ x | length }}}}", f"{{% filter upper %}}{LOOP}{{% endfilter %}}",
     f"{{% macro m() %}}{LOOP}{{% endmacro %}}{{{{ m() }}}}", f"{{% generation %}}{LOOP}{{% endgeneration %}}",
     "{% for i in range(99999) %}" + "a" * 1_000 + "{% endfor %}"]
)  # fmt: skip
def test_a_text_without_end_is_refused_before_it_takes_the_memory(template: str) -> None:
    code = template_code.compile_template(template)
    messages = [{"role": "user", "content": "a"}]
    tracemalloc.start()
    for render in (partial(code.render, prompt=False), code.marked, code.beginnings):
        if code.traced is not None or render != code.beginnings:
            with pytest.raises(ExampleFailure, match="too large|too much"):
                render(messages, None, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6
