import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_reward import CHAT, save_model, save_tokenizer

from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ModelError
from curate.models.load import resolve_model
from curate.models.pretrained import no_progress_bar
from curate.scorers.reward import OASST, Reward

TURNS = [
    ("Add 2 and 3.", "5"),
    ("Write a poem about the sea.", "The sea is wide. " * 6),
    ("Why?", ""),
    ("ünïcode 漢字", "Green, because leaves are green in the summer."),
    ("Name a colour.", "Blue."),
]


def example_of(question, answer, number=0):
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Example(f"{number:032x}", messages)


EXAMPLES = [example_of(*turn, number) for number, turn in enumerate(TURNS)]


def load(folder, **settings):
    return Reward(**settings).load(LoadContext("cpu", "float32", str(folder)))


@torch.inference_mode()
def alone(model, encoded):
    """The reward of one text as a model card computes it: no padding, no batch."""
    return float(model(**encoded).logits[0])


@pytest.mark.parametrize("pad", [None, 0, 1])
def test_a_batch_gives_what_each_conversation_gives_alone(tmp_path, pad):
    """Also where padding is the end token, and where the model has no padding."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = save_tokenizer(tmp_path, chat_template=CHAT)
    model = save_model(
        tmp_path, tokenizer, LlamaConfig, LlamaForSequenceClassification,
        pad_token_id=pad, bos_token_id=2, eos_token_id=1,
    )  # fmt: skip
    found = load(tmp_path)(EXAMPLES)
    for number, (question, answer) in enumerate(TURNS):
        text = f"<|user|>{question}</s><|assistant|>{answer}</s>"
        encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        encoded.pop("token_type_ids", None)
        assert found["reward"][number] == pytest.approx(alone(model, encoded), abs=1e-6)
        assert found[TOKENS_RUN][number] == encoded["input_ids"].shape[1]
    assert len(set(found["reward"])) == len(TURNS)
    assert not found["truncated"].any() and list(found[FAILURE]) == [None] * len(TURNS)


def test_pairs_reach_a_sentence_pair_classifier_with_their_segments(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    settings = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    tokenizer = save_tokenizer(tmp_path, pairs=True, **settings)
    model = save_model(
        tmp_path, tokenizer, BertConfig, BertForSequenceClassification, pad_token_id=0
    )
    found = load(tmp_path, format="pair")(EXAMPLES)
    for number, turn in enumerate(TURNS):
        encoded = tokenizer([turn[0]], [turn[1]], return_tensors="pt")
        assert encoded["token_type_ids"].any()
        assert found["reward"][number] == pytest.approx(alone(model, encoded), abs=1e-6)


# The GPT-NeoX reward models of Open-Assistant ----------------------------------------------------


@pytest.fixture(scope="module", params=["last", "mean"])
def oasst(request, tmp_path_factory):
    """A checkpoint in the layout of the published ones, with the buffers older versions stored."""
    from transformers import GPTNeoXConfig, GPTNeoXModel

    folder = tmp_path_factory.mktemp("oasst")
    tokenizer = save_tokenizer(folder, "<|prompter|>", "<|assistant|>", "<|endoftext|>")
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 200,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = GPTNeoXModel(
            GPTNeoXConfig(rope_parameters={"rope_type": "default", "rope_theta": 5000.0,
                                           "partial_rotary_factor": 0.5}, **shape)
        ).eval()  # fmt: skip
        weight, bias = torch.randn(1, 16), torch.randn(1)
    tensors = {f"gpt_neox.{name}": value for name, value in backbone.state_dict().items()}
    tensors |= {
        "out_proj.weight": weight,
        "out_proj.bias": bias,
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
        "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(4),
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {
        "model_type": "gpt_neox_reward_model", "architectures": ["GPTNeoXRewardModel"],
        "pooling": request.param, "rotary_pct": 0.5, "rotary_emb_base": 5000, "hidden_act": "gelu",
        "layer_norm_eps": 1e-5, "use_parallel_residual": True, "torch_dtype": "float32", **shape,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder, tokenizer, backbone, (weight, bias), request.param


@torch.inference_mode()
def slow_reward(oasst, text):
    _, tokenizer, backbone, (weight, bias), pooling = oasst
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    states = backbone(input_ids=ids).last_hidden_state[0]
    pooled = states[-1] if pooling == "last" else states.mean(dim=0)
    return float(weight @ pooled + bias)


def test_the_published_layout_loads_and_scores(oasst):
    found = load(oasst[0], format="oasst")(EXAMPLES)
    for number, (question, answer) in enumerate(TURNS):
        text = f"<|prompter|>{question}<|endoftext|><|assistant|>{answer}<|endoftext|>"
        assert found["reward"][number] == pytest.approx(slow_reward(oasst, text), abs=1e-5)


def test_a_long_conversation_loses_its_beginning(oasst):
    question, answer = "What? " * 60, "Nothing."
    found = load(oasst[0], format="oasst")([example_of(question, answer), EXAMPLES[0]])
    assert found["truncated"].tolist() == [True, False]
    assert found[TOKENS_RUN].tolist()[0] == 200
    end = (question + "<|endoftext|><|assistant|>" + answer + "<|endoftext|>")[-400:]
    ids = oasst[1](end)["input_ids"][-200:]
    text = oasst[1].decode(ids)
    assert found["reward"][0] == pytest.approx(slow_reward(oasst, text), abs=1e-5)


def test_its_key_resolves_without_loading_weights(oasst):
    resolved = resolve_model(str(oasst[0]))
    assert resolved.max_length == 200
    assert resolved.n_parameters == sum(
        tensor.numel() for tensor in load_file(oasst[0] / "model.safetensors").values()
    )


def test_another_pooling_is_refused(oasst, tmp_path):
    for path in oasst[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"pooling": "max"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="pools by 'last' or 'mean', but this config.json says"):
        load(tmp_path, format="oasst")


def test_every_turn_is_written_in_the_marks_of_the_format():
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Bye"},
    )
    assert OASST.render(Example("0" * 32, messages))[0] == (
        "<|prompter|>Be brief.<|endoftext|><|prompter|>Hi<|endoftext|>"
        "<|assistant|>Hello<|endoftext|><|prompter|>Bye<|endoftext|><|assistant|>Bye<|endoftext|>"
    )


# What cannot be used -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A usable reward model, to be spoilt."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    folder = tmp_path_factory.mktemp("decoder")
    tokenizer = save_tokenizer(folder, chat_template=CHAT)
    save_model(folder, tokenizer, LlamaConfig, LlamaForSequenceClassification, pad_token_id=0)
    return folder


def copy_of(folder, target):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_language_model_has_no_reward_head(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = save_tokenizer(tmp_path, chat_template=CHAT)
    save_model(tmp_path, tokenizer, LlamaConfig, LlamaForCausalLM)
    with pytest.raises(ModelError, match=r"its weights lack score.weight, and random ones would"):
        load(tmp_path)


def test_two_labels_are_no_reward(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = save_tokenizer(tmp_path, chat_template=CHAT)
    save_model(tmp_path, tokenizer, LlamaConfig, LlamaForSequenceClassification, num_labels=2)
    with pytest.raises(ModelError, match=r"has 2 labels \(LABEL_0, LABEL_1\), but a reward model"):
        load(tmp_path)


def test_without_a_chat_template_the_other_formats_are_named(decoder, tmp_path):
    save_tokenizer(copy_of(decoder, tmp_path))
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(
        ModelError, match="no chat template.*--set reward.format=oasst.*format=pair"
    ):
        load(tmp_path)


def test_a_tokenizer_without_the_marks_cannot_write_the_oasst_format(decoder):
    with pytest.raises(ModelError, match=r"no token '<\|prompter\|>', which reward.format=oasst"):
        load(decoder, format="oasst")


def test_pickled_weights_are_not_read(decoder, tmp_path):
    copy_of(decoder, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="has only pickled weights"):
        load(tmp_path)


def test_a_missing_model_is_named():
    with pytest.raises(ModelError, match="model folder './no-such-model' does not exist"):
        load("./no-such-model")


def test_an_example_the_template_refuses_fails_alone(decoder, tmp_path):
    picky = CHAT.replace("{% for", "{{ raise_exception('no') if messages|length > 2 }}{% for", 1)
    save_tokenizer(copy_of(decoder, tmp_path), chat_template=picky)
    long = Example("9" * 32, EXAMPLES[0].messages * 2)
    found = load(tmp_path)([EXAMPLES[0], long, EXAMPLES[1]])
    assert list(found[FAILURE]) == [None, "template_error", None]
    assert np.isnan(found["reward"]).tolist() == [False, True, False]


def test_the_chat_template_is_part_of_the_key():
    assert Reward().template == "chat" and Reward(format="oasst").template == "oasst"


# Real rows ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_rows_score_as_they_do_alone(realdata, realmodel, tmp_path):
    """The small English model with a head of seeded random weights: a reward model in its shape."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with torch.random.fork_rng(), no_progress_bar():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            realmodel, num_labels=1, dtype=torch.float32
        ).eval()
        model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(realmodel)
    tokenizer.save_pretrained(tmp_path)
    table = pq.read_table(realdata / "dolly_15k.parquet", columns=["prompt", "response"])
    rows = [(row["prompt"], row["response"]) for row in table.slice(0, 12).to_pylist()]
    found = load(tmp_path, format="pair")([example_of(*row) for row in rows])
    assert np.isfinite(found["reward"]).all()
    for number in (0, 7, 11):
        encoded = tokenizer(*rows[number], return_tensors="pt")
        encoded.pop("token_type_ids", None)
        assert found["reward"][number] == pytest.approx(alone(model, encoded), abs=1e-4)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_the_head_computes_in_float32_on_a_body_in_bfloat16(tmp_path, kind):
    from transformers import (
        LlamaConfig,
        LlamaForSequenceClassification,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    tokenizer = save_tokenizer(tmp_path, chat_template=CHAT)
    classes = {
        "decoder": (LlamaConfig, LlamaForSequenceClassification),
        "encoder": (RobertaConfig, RobertaForSequenceClassification),
    }
    save_model(tmp_path, tokenizer, *classes[kind], pad_token_id=0)
    exact = load(tmp_path)(EXAMPLES)["reward"]
    rough = Reward().load(LoadContext("cpu", "bfloat16", str(tmp_path)))(EXAMPLES)["reward"]
    np.testing.assert_allclose(rough, exact, rtol=0.1, atol=0.02)
    rounded = torch.tensor(rough).bfloat16().double().numpy()
    assert (rounded != rough).all()


def test_rewards_with_another_head_are_another_score_set(tmp_path):
    from curate.scorers.nli_consistency import NliConsistency
    from curate.scoring.keys import dtype_of, score_key

    tokenizer = save_tokenizer(tmp_path, chat_template=CHAT)
    from transformers import LlamaConfig, LlamaForSequenceClassification

    save_model(tmp_path, tokenizer, LlamaConfig, LlamaForSequenceClassification, pad_token_id=0)
    model = resolve_model(str(tmp_path))
    found = {d: score_key(Reward(), model, d, {}).dtype for d in ("float32", "bfloat16")}
    assert found == {"float32": "float32", "bfloat16": "bfloat16; head float32"}
    assert score_key(NliConsistency(), model, "bfloat16", {}).dtype == "bfloat16"
    assert [dtype_of({"dtype": d}) for d in (*found.values(), None)] == [
        "float32",
        "bfloat16",
        "auto",
    ]
