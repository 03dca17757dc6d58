import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_t5 import save_t5, save_tokenizer

from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError, ModelError
from curate.models.load import resolve_model
from curate.models.pretrained import no_progress_bar
from curate.scorers.unieval import UniEval

DIMENSIONS = ("naturalness", "understandability", "coherence")
TURNS = [
    ("Add 2 and 3.", "5"),
    ("Write about the sea.", "The sea is wide. " * 9),
    ("Name {y} colours {x}.", "Blue {x}, and why {y}?"),
    ("", "Hello"),
    ("A long question " * 12, "ünïcode 漢字"),
]


def example_of(question, answer, number=0):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example(f"{number:032x}", tuple(messages))


EXAMPLES = [example_of(*turn, number) for number, turn in enumerate(TURNS)]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def t5(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = save_tokenizer(folder)
    return folder, tokenizer, save_t5(folder, len(tokenizer), request.param)


def load(folder, **settings):
    return UniEval(**settings).load(LoadContext("cpu", "float32", str(folder)))


@torch.inference_mode()
def official(tokenizer, model, text, limit=1024):
    """The published way: one text at a time, softmax over the whole vocabulary, then the share."""
    ids = tokenizer(text, max_length=limit, truncation=True, return_tensors="pt")["input_ids"]
    label = tokenizer("No", return_tensors="pt")["input_ids"][:, :1]
    probabilities = model(input_ids=ids, labels=label).logits[0, 0].softmax(-1)
    yes, no = (float(probabilities[tokenizer(word)["input_ids"][0]]) for word in ("Yes", "No"))
    return yes / (yes + no)


def test_prompts_are_those_the_checkpoint_was_trained_on():
    assert UniEval.prompts(("the history", "the response")) == (
        "question: Is this a natural response in the dialogue? </s> response: the response",
        "question: Is this an understandable response in the dialogue? </s> response: the response",
        (
            "question: Is this a coherent response given the dialogue history? "
            "</s> response: the response </s> dialogue history: the history"
        ),
    )


def test_answers_are_those_of_a_full_softmax_one_text_at_a_time(t5):
    folder, tokenizer, model = t5
    found = load(folder)(EXAMPLES)
    for number, turn in enumerate(TURNS):
        prompts = UniEval.prompts(turn)
        for name, prompt in zip(DIMENSIONS, prompts, strict=True):
            wanted = official(tokenizer, model, prompt)
            assert found[name][number] == pytest.approx(wanted, abs=1e-5)
        lengths = [len(tokenizer(prompt)["input_ids"]) for prompt in prompts]
        assert found[TOKENS_RUN][number] == sum(lengths)
    spread = np.array([found[name] for name in DIMENSIONS])
    assert spread.std() > 0.001 and ((spread > 0) & (spread < 1)).all()
    assert not found["truncated"].any() and list(found[FAILURE]) == [None] * len(TURNS)


def test_one_token_budget_or_another_gives_the_same(t5):
    folder, _, _ = t5
    whole = load(folder)(EXAMPLES)
    context = LoadContext("cpu", "float32", str(folder), batch_tokens=150)
    narrow = UniEval().load(context)(EXAMPLES)
    for name in DIMENSIONS:
        np.testing.assert_allclose(narrow[name], whole[name], atol=1e-5)  # float32 rounding


def test_a_long_response_pushes_the_history_out_and_it_is_said(t5):
    folder, tokenizer, model = t5
    limit = 120
    score = load(folder, max_length=limit)
    found = score([example_of("one history", "word " * 30), example_of("another", "word " * 30)])
    assert found["truncated"].tolist() == [True, True]
    # the same tokens in two rows of a batch: equal up to the rounding of float32
    assert found["coherence"][0] == pytest.approx(found["coherence"][1], rel=1e-5)
    wanted = official(tokenizer, model, UniEval.prompts(("one history", "word " * 30))[2], limit)
    assert found["coherence"][0] == pytest.approx(wanted, abs=1e-5)
    assert score([EXAMPLES[3]])["truncated"].tolist() == [False]


def test_history_is_every_turn_before_the_last(t5):
    folder, tokenizer, model = t5
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "So long"},
    )
    found = load(folder)([Example("0" * 32, messages)])
    prompt = UniEval.prompts(("Be brief.\nHi\nHello\nBye", "So long"))[2]
    assert found["coherence"][0] == pytest.approx(official(tokenizer, model, prompt), abs=1e-5)


def test_an_empty_response_fails_alone(t5):
    found = load(t5[0])([EXAMPLES[0], example_of("Why?", ""), EXAMPLES[1]])
    assert list(found[FAILURE]) == [None, "no_response", None]
    assert np.isnan(found["naturalness"]).tolist() == [False, True, False]
    nothing = load(t5[0])([example_of("Why?", "")])
    assert list(nothing[FAILURE]) == ["no_response"]


def test_the_model_resolves_by_its_files(t5):
    assert resolve_model(str(t5[0])).vocab_size == len(t5[1])


# What cannot be used -----------------------------------------------------------------------------


def test_yes_and_no_must_begin_with_distinct_tokens(tmp_path):
    tokenizer = save_tokenizer(tmp_path, answers=False)  # both begin with a blank
    save_t5(tmp_path, len(tokenizer))
    with pytest.raises(ModelError, match=r"begins 'Yes' with token \d+ and 'No' with token \d+"):
        load(tmp_path)


def test_another_architecture_is_refused(tmp_path, tiny_model):
    with pytest.raises(
        ModelError, match="cannot be loaded as a T5 model.*MingZhong/unieval-dialog"
    ):
        load(tiny_model)


def test_another_encoder_decoder_is_refused(tmp_path):
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = save_tokenizer(tmp_path)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    with no_progress_bar():
        BartForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is a bart model, but a whole T5 model is needed"):
        load(tmp_path)


def test_pickled_weights_are_not_read(t5, tmp_path):
    for path in t5[0].iterdir():
        name = path.name.replace("model.safetensors", "pytorch_model.bin")
        (tmp_path / name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match="has only pickled weights"):
        load(tmp_path)


def test_a_prompt_has_at_least_one_token():
    with pytest.raises(ConfigError, match="unieval.max_length counts tokens, got 0; try 1024"):
        UniEval(max_length=0)


# Real rows ---------------------------------------------------------------------------------------


def test_real_rows_score_as_they_do_alone(realdata, t5):
    folder, tokenizer, model = t5
    table = pq.read_table(realdata / "dolly_15k.parquet", columns=["prompt", "response"])
    rows = [(row["prompt"][:300], row["response"][:300]) for row in table.slice(0, 8).to_pylist()]
    found = load(folder)([example_of(*row) for row in rows])
    for number in (0, 5, 7):
        for name, prompt in zip(DIMENSIONS, UniEval.prompts(rows[number]), strict=True):
            wanted = official(tokenizer, model, prompt)
            assert found[name][number] == pytest.approx(wanted, abs=1e-4)
