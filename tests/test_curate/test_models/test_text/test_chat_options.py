import pytest

from curate.contracts import Example, Rendering
from curate.errors import ConfigError, ModelError
from curate.models.files import text_hash
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_hash import chat_hash
from curate.models.text.chat_options import ChatOptions, arguments_of, reasoning_question
from curate.models.text.render import MAX_CHARS, Renderer
from curate.models.text.template_code import compile_template

SWITCH = (
    "{% set ns = namespace(n=0) %}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>"
    "{% endfor %}{% if style is defined %}{{ style }}{% endif %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
DATED = "{{ strftime_now('%d %B %Y') }}" + SWITCH
TALK = ({"role": "user", "content": "two"}, {"role": "assistant", "content": "four"})


def test_arguments_are_read_as_json_where_they_are():
    given = arguments_of('enable_thinking=false, level=3,name=x,list=["a", "b"]')
    assert ChatOptions.of(template_args=given).template_args == {
        "enable_thinking": False, "level": 3, "name": "x", "list": ["a", "b"],
    }  # fmt: skip


def test_what_is_no_argument_or_no_choice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="takes key=value,..., got 'oops'; type enable_thinking"):
        arguments_of("oops")
    with pytest.raises(ConfigError, match="must be one of inline, drop, fail, got 'keep'"):
        ChatOptions.of("keep")
    with pytest.raises(ConfigError, match="'absent.jinja' cannot be read.*give a Jinja file"):
        ChatOptions.of(chat_template="absent.jinja")
    (tmp_path / "empty.jinja").write_text(" \n")
    with pytest.raises(ConfigError, match="is empty; give a Jinja file"):
        ChatOptions.of(chat_template=str(tmp_path / "empty.jinja"))


def test_an_argument_the_template_does_not_read_is_refused_with_those_it_reads(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    options = ChatOptions.of(template_args={"stile": "x"})
    tokenizer.chat_template = SWITCH
    with pytest.raises(
        ConfigError, match="reads no argument 'stile'; did you mean 'style'; .*style"
    ):
        Renderer(tokenizer, None, options).render([Example("0", TALK)], Rendering("chat"))


def test_the_question_about_reasoning_says_how_many_and_what_to_type():
    assert reasoning_question(1234, "m") == (
        "1,234 examples have reasoning that the chat template of 'm' does not write; choose with "
        "--reasoning inline (in the model's own think tags before the content), drop (leave it out) "
        "or fail (fail only those examples)"
    )


def test_choices_are_in_the_key_and_the_template_in_its_hash(tiny_model):
    plain = resolve_model(str(tiny_model))
    assert plain.chat.key == "" and ChatOptions("fail").key == ""
    assert ChatOptions("inline", '{"a": 1}').key == ';reasoning=inline;args={"a": 1}'
    other = resolve_model(str(tiny_model), chat=ChatOptions(template=SWITCH))
    dated = resolve_model(str(tiny_model), chat=ChatOptions(template=DATED))
    assert len({plain.chat_template_hash, other.chat_template_hash, dated.chat_template_hash}) == 3


def test_a_template_that_asks_for_the_date_gets_a_fixed_one():
    code = compile_template(DATED)
    assert code.asks_for_date
    assert code.render(TALK, None, {}, prompt=False).startswith("01 January 2026<|user|>")


def test_a_template_that_never_ends_fails_the_example(tiny_tokenizer, monkeypatch):
    monkeypatch.setattr("curate.models.text.template_code.LIMIT_S", 0.2)
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    renderer = Renderer(tokenizer, None, ChatOptions(template=loops + "{{ messages }}"))
    assert renderer.render([Example("0", TALK)], Rendering("chat")) == ["template_timeout"]


def test_a_template_that_reaches_for_attributes_is_stopped(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    reaches = ChatOptions(template="{{ ''.__class__.__mro__ }}")
    (reason,) = Renderer(tokenizer, None, reaches).render([Example("0", TALK)], Rendering("chat"))
    assert reason.startswith("template_error: access to attribute '__class__'")


def test_a_template_that_is_no_jinja_is_refused_with_its_line():
    with pytest.raises(ModelError, match="not valid Jinja: line 2: .*--chat-template FILE"):
        compile_template("a\n{% for %}")


def test_a_template_that_draws_at_random_is_refused():
    with pytest.raises(
        ModelError, match="draws at random .by the filter 'random'.*--chat-template"
    ):
        compile_template("{{ ['a', 'b'] | random }}")
    assert compile_template("{{ random }}").variables == {"random"}


def test_marks_that_differ_from_the_rule_are_said(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    marks = SWITCH.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}")
    chat = Renderer(tokenizer, None, ChatOptions(template=marks)).chat
    assert "marks differ" in (chat.note() or "") and "are not used" in (chat.note() or "")
    assert Renderer(tokenizer, None, ChatOptions(template=SWITCH)).chat.note() is None


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        # as version 0.1 scored it: up to an end that is a special token, blanks after it left out
        ("{% for m in messages %}{{ m.content }}{{ eos_token }}\n{% endfor %}", ""),
        ("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}", ""),
        ("{% for m in messages %}{{ m.content }}[END]\n{% endfor %}", "follows the end of a turn"),
        (
            "{% for m in messages %}{{ m.content }}{{ eos_token }} END{% endfor %}",
            "follows the end of a turn",
        ),
        (
            (
                "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls }}{% endif %}"
                "{{ eos_token }}{% endfor %}"
            ),
            "arguments of tool calls",
        ),
        (
            (
                "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
                "{% endgeneration %}{{ eos_token }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
            ),
            "generation marks",
        ),
        (
            (
                "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
                "{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
            ),
            "",
        ),
    ],
)
def test_a_key_says_what_is_scored_otherwise_than_by_version_0_1(tiny_tokenizer, source, changes):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    found = ChatTemplate(tokenizer, ChatOptions(template=source)).changes()
    assert changes in found and bool(found) == bool(changes)


def test_a_template_whose_turns_had_to_fail_before_has_another_key(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    once = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    last = "{{ '!' if loop.last and m.role == 'assistant' }}"
    split = once.replace("<|end|>", f"{last}<|end|>")
    prompt = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    hashes = [chat_hash(tokenizer, ChatOptions(template=t + prompt)) for t in (once, split)]
    assert hashes[0] == text_hash(once + prompt)  # as ever
    assert hashes[1] != text_hash(split + prompt)


def test_a_text_that_would_take_gigabytes_to_tokenise_is_refused_by_its_length(
    tiny_tokenizer, monkeypatch
):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    renderer = Renderer(tokenizer, 64, ChatOptions(template=SWITCH))
    long = ({"role": "user", "content": "a" * (MAX_CHARS + 1)}, TALK[1])
    monkeypatch.setattr(renderer, "_backend", None)  # nothing is tokenised
    for template in ("chat", "plain"):
        assert renderer.render([Example("0", long)], Rendering(template)) == ["text_too_long"]
