import pytest

from curate.errors import ConfigError, ExampleFailure, ModelError
from curate.models.text.prompts import Prompter

ASKED = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "name a colour"})


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_tokenizer)


def test_a_chat_prompt_ends_where_the_answer_begins(tokenizer):
    prompter = Prompter(tokenizer, "chat")
    text = "<s><|system|>be brief<|end|>\n<|user|>name a colour<|end|>\n<|assistant|>"
    assert prompter.text(ASKED) == text
    assert tokenizer.decode(prompter.ids(ASKED, opening="it is (")) == text + "it is ("
    assert prompter.ids(ASKED).count(tokenizer.bos_token_id) == 1


def test_a_text_prompt_ends_with_the_templates_words(tokenizer):
    prompter = Prompter(tokenizer, "grape")
    assert prompter.text(ASKED) == "be brief \n Question: name a colour \n Answer:"
    assert prompter.text(ASKED, opening="(").endswith("Answer: (")
    ids = prompter.ids(ASKED)
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
    assert Prompter(tokenizer, "plain").text(ASKED) == "be brief\nname a colour\n"


def test_tools_are_shown(tokenizer):
    text = Prompter(tokenizer, "plain").text(ASKED, ({"name": "lamp"},))
    assert text.startswith('Tools: [{"name": "lamp"}]')


def test_what_cannot_be_written_fails(tokenizer):
    prompter = Prompter(tokenizer, "plain")
    with pytest.raises(ExampleFailure, match="text_is_not_unicode"):
        prompter.ids(({"role": "user", "content": "\ud800"},))
    with pytest.raises(ExampleFailure, match="unknown_role"):
        prompter.ids(({"role": "bard", "content": "x"},))


def test_templates_that_do_not_exist_are_errors(tokenizer, tiny_tokenizer):
    with pytest.raises(ConfigError, match="no template 'plane'; did you mean 'plain'"):
        Prompter(tokenizer, "plane")
    bare = type(tokenizer).from_pretrained(tiny_tokenizer)
    bare.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        Prompter(bare, "chat")
