import warnings

import pytest

from curate.contracts import Example, Rendering
from curate.errors import ExampleFailure, ModelError
from curate.models.load import load_tokenizer
from curate.models.text.render import Renderer
from curate.models.text.show import show
from curate.scorers.donod import DONOD
from curate.scorers.ifd import IFD
from curate.scorers.likelihood import Likelihood

MARKED = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|end|>{% endgeneration %}{% else %}{{ m.content }}<|end|>"
    "{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
REWRITING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{{ m.content if loop.last else m.content | upper }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def chat_of(*contents: str) -> Example:
    roles = ["user", "assistant"] * len(contents)
    messages = tuple({"role": r, "content": c} for r, c in zip(roles, contents, strict=False))
    return Example("0" * 32, messages)


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return load_tokenizer(str(tiny_tokenizer))


@pytest.fixture
def renderer(tokenizer):
    return Renderer(tokenizer, None)


def render_one(renderer, example, rendering):
    result = renderer.render([example], rendering)[0]
    assert not isinstance(result, str), result
    return result


def scored_text(renderer, rendered):
    return renderer.tokenizer.decode(rendered.targets[~rendered.is_end])


def test_ids_are_those_of_the_tokenizer_itself(renderer):
    rendered = render_one(renderer, chat_of("name a colour", "blue 😀"), Rendering("grape"))
    text = "Question: name a colour \n Answer: blue 😀"
    assert rendered.ids.tolist() == renderer.tokenizer(text).input_ids
    assert rendered.ids[0] == renderer.tokenizer.bos_token_id


def test_a_token_that_straddles_the_start_counts_as_response(renderer):
    example = chat_of("name a colour", "blue")
    rendered = render_one(renderer, example, Rendering("grape"))
    at = rendered.positions[~rendered.is_end] + 1
    text = "Question: name a colour \n Answer: blue"
    offsets = renderer.tokenizer(text, return_offsets_mapping=True).offset_mapping
    start = len(text) - len("blue")
    assert at.tolist() == [i for i, (a, b) in enumerate(offsets) if b > start and b > a]
    assert offsets[at[0]][0] <= start


def test_separate_pieces_are_tokenised_one_by_one(renderer):
    example = chat_of("name a colour", "blue", "and two", "four")
    rendered = render_one(renderer, example, Rendering("grape", boundary="separate"))
    tokenizer = renderer.tokenizer
    pieces = [
        "Question: name a colour \n Answer: ",
        "blue",
        " \n Question: and two \n Answer: ",
        "four",
    ]
    ids = [tokenizer(pieces[0]).input_ids]
    ids += [tokenizer(piece, add_special_tokens=False).input_ids for piece in pieces[1:]]
    assert rendered.ids.tolist() == [token for piece in ids for token in piece]
    assert rendered.targets.tolist() == [*ids[1], *ids[3], tokenizer.eos_token_id]


def test_the_end_is_scored_and_marked_but_not_fed(renderer):
    rendered = render_one(renderer, chat_of("two", "four"), Rendering("plain"))
    assert rendered.targets[-1] == renderer.tokenizer.eos_token_id
    assert rendered.is_end.tolist() == [False] * (len(rendered.targets) - 1) + [True]
    assert rendered.positions[-1] == len(rendered.ids) - 1
    assert renderer.tokenizer.eos_token_id not in rendered.ids


def test_an_end_the_tokenizer_appends_is_not_doubled(tokenizer):
    from tokenizers import processors

    plain = render_one(Renderer(tokenizer, None), chat_of("two", "four"), Rendering("plain"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    assert tokenizer("a").input_ids[-1] == 1
    for boundary in ("offsets", "separate"):
        closed = render_one(
            Renderer(tokenizer, None), chat_of("two", "four"), Rendering("plain", boundary=boundary)
        )
        assert closed.ids.tolist() == plain.ids.tolist()
        assert closed.targets.tolist().count(1) == 1


def test_a_text_that_begins_with_bos_has_one(renderer):
    rendered = render_one(renderer, chat_of("<s>two", "four"), Rendering("plain"))
    assert rendered.ids.tolist().count(renderer.tokenizer.bos_token_id) == 1


def test_without_bos_the_first_token_of_a_lone_response_is_not_scored(tokenizer):
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    example = chat_of("two", "plus four")
    lone = render_one(Renderer(tokenizer, None), example, Rendering("plain", part="response"))
    ids = tokenizer("plus four").input_ids
    assert lone.ids.tolist() == ids
    assert lone.targets.tolist() == [*ids[1:], tokenizer.eos_token_id]


def test_the_lead_of_a_lone_response_is_not_scored(renderer):
    rendering = Rendering("plain", part="response", lead="### Response:")
    lone = render_one(renderer, chat_of("two", "four", "and", "six"), rendering)
    assert renderer.tokenizer.decode(lone.ids, skip_special_tokens=True) == "### Response:four\nsix"
    assert scored_text(renderer, lone) == "foursix"


@pytest.mark.parametrize("template", ["prefix", "marks"])
def test_chat_scores_assistant_turns_and_their_ends(tokenizer, template):
    if template == "marks":
        tokenizer.chat_template = MARKED
    renderer = Renderer(tokenizer, None)
    example = chat_of("two", "four", "and", "six")
    rendered = render_one(renderer, example, Rendering("chat"))
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert scored_text(renderer, rendered) == "foursix"
    assert rendered.targets[rendered.is_end].tolist() == [end, end]
    assert rendered.ids.tolist().count(tokenizer.bos_token_id) == 1
    assert (
        scored_text(renderer, render_one(renderer, example, Rendering("chat", turns="last")))
        == "six"
    )


def test_both_ways_of_finding_assistant_turns_agree(tokenizer):
    example = chat_of("two plus", "four", "and", "six  \n")
    by_prefix = render_one(Renderer(tokenizer, None), example, Rendering("chat"))
    tokenizer.chat_template = MARKED
    by_marks = render_one(Renderer(tokenizer, None), example, Rendering("chat"))
    for name in ("ids", "positions", "targets", "is_end"):
        assert getattr(by_prefix, name).tolist() == getattr(by_marks, name).tolist()


def test_a_template_that_rewrites_history_fails_the_example(tokenizer):
    tokenizer.chat_template = REWRITING
    renderer = Renderer(tokenizer, None)
    two_turns = chat_of("two", "four", "and", "six")
    assert renderer.render([two_turns], Rendering("chat")) == ["template_not_prefix_stable"]
    assert not isinstance(renderer.render([chat_of("2", "four")], Rendering("chat"))[0], str)


def test_a_template_that_refuses_a_conversation_fails_the_example(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert Renderer(tokenizer, None).render([chat_of("a", "b")], Rendering("chat")) == [
        "template_error: no"
    ]


def test_chat_without_a_chat_template_says_what_to_do(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template.*pass --template plain"):
        Renderer(tokenizer, None).render([chat_of("a", "b")], Rendering("chat"))


def test_truncation_cuts_on_the_right_and_says_so(renderer, tokenizer):
    example = chat_of("two", "one two three four five six")
    whole = render_one(renderer, example, Rendering("plain"))
    limit = len(whole.ids) - 3
    for cut in (
        render_one(Renderer(tokenizer, limit), example, Rendering("plain")),
        render_one(renderer, example, Rendering("plain", max_length=limit)),
    ):
        assert cut.truncated and not whole.truncated
        assert cut.ids.tolist() == whole.ids[:limit].tolist()
        assert not cut.is_end.any()
        assert cut.targets.tolist() == whole.targets[: len(cut.targets)].tolist()
        assert cut.n_scored == whole.n_scored
    exact = render_one(Renderer(tokenizer, len(whole.ids)), example, Rendering("plain"))
    assert not exact.truncated and exact.is_end[-1]


def test_a_prompt_that_fills_the_context_fails_the_example(tokenizer):
    example = chat_of("one two three four five six", "four")
    assert Renderer(tokenizer, 4).render([example], Rendering("plain")) == [
        "prompt_exceeds_context"
    ]


def test_nothing_to_score_fails_the_example(renderer):
    example = Example("0" * 32, ({"role": "user", "content": "two"},))
    assert renderer.render([example], Rendering("plain")) == ["no_scored_tokens"]


def test_text_that_is_not_unicode_fails_the_example_alone(renderer):
    bad, good = renderer.render(
        [chat_of("two", "\ud800"), chat_of("two", "four")], Rendering("plain")
    )
    assert bad == "text_is_not_unicode"
    assert not isinstance(good, str)


def test_scoring_all_tokens_leaves_out_only_the_first(renderer):
    rendered = render_one(renderer, chat_of("two", "four"), Rendering("plain", scored="all"))
    assert rendered.positions.tolist() == list(range(len(rendered.ids)))


def test_whitespace_tokens_with_trimmed_offsets_belong_to_their_turn(tokenizer):
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    renderer = Renderer(tokenizer, None)
    rendered = render_one(renderer, chat_of("two", "four \n"), Rendering("plain"))
    assert scored_text(renderer, rendered) == "four \n"


def test_long_texts_raise_no_warning(renderer):
    renderer.tokenizer.model_max_length = 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_one(renderer, chat_of("two " * 100, "four"), Rendering("plain"))


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False
        name_or_path = "old"

    with pytest.raises(ModelError, match="tokenizer of 'old' is a slow one.*save a tokenizer.json"):
        Renderer(Slow(), None)


def test_show_gives_the_ids_and_mask_of_the_scored_positions(renderer):
    example = chat_of("two", "four")
    (shown,) = show(Likelihood(template="plain"), example, renderer)
    assert shown.text == "two\nfour"
    kept = [i for i, m in zip(shown.token_ids, shown.response_mask, strict=True) if m]
    assert renderer.tokenizer.decode(kept) == "four"
    (with_end,) = show(DONOD(template="plain"), example, renderer)
    assert with_end.token_ids == (*shown.token_ids, renderer.tokenizer.eos_token_id)
    assert with_end.response_mask == (*shown.response_mask, True)
    assert [one.segment for one in show(IFD(), example, renderer)] == ["full", "response"]


def test_show_reports_a_failure(renderer):
    example = Example("0" * 32, ({"role": "user", "content": [{"type": "image"}]},))
    (shown,) = show(Likelihood(), example, renderer)
    assert shown.failure == "content_is_not_text"
    with pytest.raises(ExampleFailure):
        renderer.texts(example, Rendering("plain"))
