"""Two hundred conversations of every shape: our labels token by token against other trainers' masks."""

import json
import random
import sys
from functools import partial

import pytest

from curate.contracts import Example, Rendering
from curate.errors import ConfigError, MissingPackageError
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import Renderer
from curate.scoring.options import ScoringOptions
from curate.train.config import TrainConfig
from curate.train.data_config import DataConfig

WORDS = [
    "a",
    "trout",
    "and",
    "an",
    "elm",
    "by",
    "the",
    "Loire,",
    "12",
    "blue",
    "stones;",
    "why",
    "not?",
    "Café\n\n",
    "",
    "two",
    "lines",
]
TOOL = {"name": "get_tide", "description": "Height", "parameters": {"type": "object"}}
MARKERS = [
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
]  # fmt: skip
N = 200


def conversations(reasoning=True, tools=True):
    """One turn or many, with and without system, reasoning, tools, both; the same each time."""
    rng = random.Random(7)
    for number in range(N):
        yield _conversation(
            rng,
            n_turns=1 + number % 4,
            system=number % 3 == 0,
            reasoning=reasoning and number % 5 in (1, 2),
            tools=tools and number % 7 in (1, 3, 4),
        )


def _conversation(rng, n_turns, system, reasoning, tools):
    text = partial(_text, rng)
    messages = [{"role": "system", "content": text()}] if system else []
    for _ in range(n_turns):
        messages.append({"role": "user", "content": text()})
        thought = {"reasoning_content": text()} if reasoning and rng.random() < 0.7 else {}
        if tools and rng.random() < 0.6:
            calls = [
                _call({"port": text(), "day": rng.randrange(9)}) for _ in range(rng.choice((1, 2)))
            ]
            content = text() if rng.random() < 0.4 else ""
            messages.append(
                {"role": "assistant", "content": content, "tool_calls": calls, **thought}
            )
            messages += [{"role": "tool", "name": "get_tide", "content": text()} for _ in calls]
            thought = {}
        messages.append({"role": "assistant", "content": text(), **thought})
    return messages, [{"type": "function", "function": TOOL}] if tools else None


def _text(rng):
    return " ".join(rng.choices(WORDS, k=rng.randrange(1, 9))).strip() or "elm"


def _call(arguments):
    return {"type": "function", "function": {"name": "get_tide", "arguments": arguments}}


def example(messages, tools=None):
    return Example("0" * 32, tuple(messages), tuple(tools) if tools else None)


def labels(rendered):
    """Whole rows as a trainer has them: id of every token, and -100 where it is not trained on."""
    found = [-100] * len(rendered.ids)
    for position, target in zip(rendered.positions, rendered.targets, strict=True):
        found[position + 1] = int(target)
    return found


def with_template(folder, source):
    tokenizer = load_tokenizer(str(folder))
    tokenizer.add_special_tokens({"additional_special_tokens": MARKERS})
    tokenizer.chat_template = source
    return tokenizer


def trl_source(name):
    templates = pytest.importorskip("trl.chat_template_utils")
    return (templates._CHAT_TEMPLATES_DIR / f"{name}.jinja").read_text()


@pytest.fixture(scope="module")
def trl_labels(tiny_tokenizer):
    """What SFTTrainer trains on with assistant_only_loss=True, by the name of the template."""
    made = {}

    def labels_of(name, reasoning, tools):
        if name not in made:
            tokenizer = with_template(tiny_tokenizer, trl_source(name))
            template = trl_template(tokenizer)
            made[name] = [
                _trl_labels(tokenizer, template, *one) for one in conversations(reasoning, tools)
            ]
        return made[name]

    return labels_of


def trl_template(tokenizer):
    return pytest.importorskip("trl").get_training_chat_template(tokenizer)


def _trl_labels(tokenizer, template, messages, tools):
    done = tokenizer.apply_chat_template(
        messages,
        tools=tools,
        chat_template=template,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    pairs = zip(done["input_ids"], done["assistant_masks"], strict=True)
    return done["input_ids"], [token if kept else -100 for token, kept in pairs]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reasoning", "tools"),
    [("qwen3", True, True), ("qwen2_5", False, True), ("llama3", False, False)],
)
def test_the_mask_of_trl_is_that_of_its_trainer(name, reasoning, tools, tiny_tokenizer, trl_labels):
    tokenizer = with_template(tiny_tokenizer, trl_source(name))
    renderer = Renderer(tokenizer, None, ChatOptions(mask="trl", from_trl=True))
    given = [example(*one) for one in conversations(reasoning, tools)]
    theirs = trl_labels(name, reasoning, tools)
    for ours, (ids, expected) in zip(
        renderer.render(given, Rendering("chat")), theirs, strict=True
    ):
        assert ours.ids.tolist() == ids
        assert labels(ours) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reasoning", "tools", "between"),
    [
        ("qwen3", True, True, {"\n", "<think>\n\n</think>\n\n"}),
        ("qwen2_5", False, True, {"\n"}),
        ("llama3", False, False, set()),
    ],
)
def test_by_default_only_what_the_template_writes_itself_differs_from_trl(
    name, reasoning, tools, between, tiny_tokenizer, trl_labels
):
    """The documented difference: blanks around a turn and empty think blocks are not scored."""
    tokenizer = with_template(tiny_tokenizer, trl_source(name))
    renderer = Renderer(tokenizer, None, ChatOptions(from_trl=True))
    found = set()
    given = [example(*one) for one in conversations(reasoning, tools)]
    theirs = trl_labels(name, reasoning, tools)
    for ours, (ids, expected) in zip(
        renderer.render(given, Rendering("chat")), theirs, strict=True
    ):
        got = labels(ours)
        ids = ids[: len(got)]
        assert ours.ids.tolist() == ids  # one row; ours may end before a last blank
        assert all(a == b for a, b in zip(got, expected, strict=False) if a != -100)
        run = []
        for token, a, b in zip(ids, got, expected, strict=False):
            if a == b:
                found |= {tokenizer.decode(run)} if run else set()
                run = []
            else:
                run.append(token)
    assert found == between


# The conventions of LLaMA-Factory's templates, as expected values: a conversation is prompts and
# answers in turn, each tokenised by itself, and all of an answer is trained on.

CHATML = (
    "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


def chatml(messages, tools):
    return _pieces(
        messages, "<|im_start|>{}\n{}<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>\n"
    )


def llama3(messages, tools):
    pieces = _pieces(
        messages,
        "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    )
    return [("<s>" + pieces[0][0], False), *pieces[1:]]


def qwen(messages, tools):
    """A default system text, tools in the system turn, calls in tags, results as the user's."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else DEFAULT
    rest = messages[1:] if messages[0]["role"] == "system" else messages
    if tools:
        system += (
            "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
            + "".join(f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in tools)
            + "\n</tools>\n\nFor each function call, return a json object with function name and "
            "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
            '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        )
    turns = [{"role": "system", "content": system}]
    for message in rest:
        content = message["content"]
        for call in message.get("tool_calls", ()):
            made = json.dumps(call["function"], ensure_ascii=False)
            content += f"\n<tool_call>\n{made}\n</tool_call>"
        content = content.removeprefix("\n") if message.get("tool_calls") else content
        if message["role"] == "tool":
            answer = f"<tool_response>\n{content}\n</tool_response>"
            if turns[-1].get("is_result"):
                turns[-1]["content"] += f"\n{answer}"
                continue
            turns.append({"role": "user", "content": answer, "is_result": True})
        else:
            turns.append({"role": message["role"], "content": content})
    return chatml(turns, None)


def _pieces(messages, turn, prompt, end):
    pieces, asked = [], ""
    for message in messages:
        if message["role"] == "assistant":
            pieces += [(asked + prompt, False), (message["content"] + end, True)]
            asked = ""
        else:
            asked += turn.format(message["role"], message["content"])
    return pieces


def encoded(tokenizer, pieces):
    ids, found = [], []
    for text, is_answer in pieces:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        ids += tokens
        found += tokens if is_answer else [-100] * len(tokens)
    return ids, found


@pytest.mark.parametrize(
    ("convention", "source", "tools"),
    [(chatml, CHATML, False), (llama3, LLAMA3, False), (qwen, None, True)],
    ids=["chatml", "llama3", "qwen"],
)
def test_the_mask_of_llama_factory_is_that_of_its_convention(
    convention, source, tools, tiny_tokenizer
):
    tokenizer = with_template(tiny_tokenizer, source or trl_source("qwen2_5"))
    renderer = Renderer(tokenizer, None, ChatOptions(mask="llama-factory"))
    for messages, given in conversations(False, tools):
        (ours,) = renderer.render([example(messages, given)], Rendering("chat"))
        ids, expected = encoded(tokenizer, convention(messages, given))
        assert ours.ids.tolist() == ids
        assert labels(ours) == expected


FISH = [{"role": "user", "content": "A fish?"}, {"role": "assistant", "content": "A trout."}]


def rendered(tokenizer, messages, **options):
    return Renderer(tokenizer, None, ChatOptions(**options)).render(
        [example(messages)], Rendering("chat")
    )[0]


@pytest.mark.parametrize("mask", ["trl", "llama-factory"])
def test_no_mask_lets_a_text_vanish(mask, tiny_tokenizer):
    silent = "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %}" + (
        "{% generation %}<|im_end|>{% endgeneration %}{% endif %}{% endfor %}"
    )
    assert (
        rendered(with_template(tiny_tokenizer, silent), FISH, mask=mask) == "content_not_rendered"
    )


def test_llama_factory_s_mask_needs_a_history_that_stays(tiny_tokenizer):
    last_only = (
        "{% for m in messages %}{{ m.role if loop.last else '' }}: {{ m.content }}\n{% endfor %}"
    )
    tokenizer = with_template(tiny_tokenizer, last_only)
    assert rendered(tokenizer, [*FISH, *FISH], mask="llama-factory") == "template_not_prefix_stable"


def test_a_template_without_marks_cannot_have_trl_s_mask(tiny_tokenizer):
    with pytest.raises(ConfigError, match="marks nothing; add --template trl"):
        rendered(with_template(tiny_tokenizer, CHATML), FISH, mask="trl")


def test_a_template_trl_does_not_know_is_refused_with_a_remedy(tiny_tokenizer):
    pytest.importorskip("trl")
    with pytest.raises(ConfigError, match=r"TRL has no training template .* --chat-template FILE"):
        rendered(with_template(tiny_tokenizer, CHATML), FISH, from_trl=True)


def test_without_trl_its_template_is_refused_with_the_command_to_type(tiny_tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "trl.chat_template_utils", None)
    with pytest.raises(MissingPackageError, match="pip install trl"):
        rendered(with_template(tiny_tokenizer, CHATML), FISH, from_trl=True)


def test_a_mask_is_in_keys_only_where_it_is_not_the_default(tiny_model):
    same = [ScoringOptions(mask=mask).chat for mask in (None, "curate")]
    assert same == [ChatOptions()] * 2
    assert ChatOptions().key == ""
    assert "mask" not in ChatOptions().identity
    other = ScoringOptions(mask="llama-factory").chat
    assert (other.key, other.identity["mask"]) == (";mask=llama-factory", "llama-factory")
    hashes = {resolve_model(str(tiny_model), chat=one).chat_template_hash for one in (*same, other)}
    assert len(hashes) == 1  # the mask stands beside the template in a key, not in its hash


def test_a_mask_is_in_a_training_run_s_identity_only_where_it_is_not_the_default():
    plain, same, other = (
        TrainConfig("m", data=DataConfig(template="chat", mask=mask)).identity()["data"]
        for mask in (None, "curate", "trl")
    )
    assert plain == same
    assert "mask" not in plain
    assert other == {**plain, "mask": "trl"}


def test_a_mask_without_a_chat_template_is_refused():
    with pytest.raises(ConfigError, match="--template plain uses none"):
        ScoringOptions(mask="trl", template="plain")
    config = TrainConfig("m", data=DataConfig(template="plain", mask="trl"))
    with pytest.raises(ConfigError, match="leave the mask out, or train with template chat"):
        config.resolved(has_chat_template=True)
    with pytest.raises(ConfigError, match="--mask must be one of curate, trl, llama-factory"):
        ChatOptions.of(mask="axolotl")
    with pytest.raises(ConfigError, match="both name a chat template"):
        ChatOptions.of(chat_template="f.jinja", from_trl=True)


@pytest.mark.parametrize("mask", ["trl", "llama-factory"])
def test_a_turn_of_weight_0_does_not_count_under_any_mask(mask, tiny_tokenizer):
    marks = (
        "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %}"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% endif %}{% endfor %}"
    )
    tokenizer = with_template(tiny_tokenizer, marks)
    first = {"role": "assistant", "content": "Well.", "weight": 0}
    row = rendered(tokenizer, [FISH[0], first, *FISH], mask=mask)
    assert tokenizer.decode(row.targets) == "A trout.<|im_end|>"
