import numpy as np
import pytest
import torch
from tiny_reward import CHAT, save_model, save_tokenizer

from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ModelError
from curate.registry import build
from curate.scorers.classifier import Classifier, numbers_of
from curate.scorers.reward import Reward
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import request_for

TURNS = [
    ("Add 2 and 3.", "5"),
    ("Write a poem about the sea.", "The sea is wide. " * 6),
    ("Why?", ""),
    ("ünïcode 漢字", "Green, because leaves are green in the summer."),
]
EXAMPLES = [
    Example(f"{n:032x}", ({"role": "user", "content": q}, {"role": "assistant", "content": a}))
    for n, (q, a) in enumerate(TURNS)
]
IMAGE = Example(
    "f" * 32,
    (
        {"role": "user", "content": [{"type": "image"}]},
        {"role": "assistant", "content": [{"type": "image"}]},
    ),
)


def save(folder, labels=("LABEL_0",), **settings):
    """A classifier of two layers whose predictions are neither flat nor certain."""
    from transformers import BertConfig, BertForSequenceClassification

    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = save_tokenizer(folder, pairs=True, chat_template=CHAT, model_input_names=names)
    labels = dict(enumerate(labels))
    model = save_model(
        folder, tokenizer, BertConfig, BertForSequenceClassification, pad_token_id=0,
        num_labels=len(labels), id2label=labels, label2id={v: k for k, v in labels.items()},
        **settings,
    )  # fmt: skip
    with torch.no_grad():
        model.classifier.weight.mul_(60)
    model.save_pretrained(folder)
    return tokenizer, model


def load(folder, **settings):
    return Classifier(**settings).load(LoadContext("cpu", "float32", str(folder)))


@torch.inference_mode()
def logits(tokenizer, model, *texts):
    encoded = tokenizer(
        *([text] for text in texts), return_tensors="pt", truncation=True, max_length=256
    )
    return model(**encoded).logits[0].double().numpy()


def test_a_regression_is_its_raw_output(tmp_path):
    made = save(tmp_path)
    found = load(tmp_path)([*EXAMPLES, IMAGE])
    for number, (_, answer) in enumerate(TURNS):
        assert found["score"][number] == pytest.approx(logits(*made, answer)[0], abs=1e-5)
        assert found[TOKENS_RUN][number] == len(made[0](answer)["input_ids"])
    assert (
        found["label"].tolist() == [""] * 5 and [len(p) for p in found["probabilities"]] == [0] * 5
    )
    assert list(found[FAILURE][:4]) == [None] * 4
    assert found[FAILURE][4] == "content_is_not_text"


@pytest.mark.parametrize("labels", [("1 star", "2 stars", "3 stars"), ("3", "1", "2")])
def test_labels_with_numbers_give_the_expected_number(tmp_path, labels):
    made = save(tmp_path, labels)
    found = load(tmp_path, part="prompt")(EXAMPLES)
    for number, (question, _) in enumerate(TURNS):
        weights = np.exp(logits(*made, question))
        wanted = weights / weights.sum()
        np.testing.assert_allclose(found["probabilities"][number], wanted, atol=1e-6)
        values = [float(label.split()[0]) for label in labels]
        assert found["score"][number] == pytest.approx(wanted @ values, abs=1e-5)
        assert found["label"][number] == labels[wanted.argmax()]
    assert len(set(found["score"].round(6))) == len(TURNS)


def test_a_label_gives_its_probability(tmp_path):
    made = save(tmp_path, ("toxic", "fine"))
    found = load(tmp_path, label="fine", format="pair")(EXAMPLES)
    for number, turn in enumerate(TURNS):
        toxic, fine = logits(*made, *turn)
        assert found["score"][number] == pytest.approx(1 / (1 + np.exp(toxic - fine)), abs=1e-6)


def test_labels_that_do_not_exclude_each_other_have_a_probability_each(tmp_path):
    made = save(tmp_path, ("rude", "long"), problem_type="multi_label_classification")
    found = load(tmp_path, label="long", part="full")(EXAMPLES[:1])
    wanted = 1 / (1 + np.exp(-logits(*made, "Add 2 and 3.\n5")))
    assert found["score"][0] == pytest.approx(wanted[1], abs=1e-6)
    np.testing.assert_allclose(found["probabilities"][0], wanted, atol=1e-6)
    with pytest.raises(ModelError, match=r"do not exclude each other: rude, long; .*label=rude"):
        load(tmp_path)


@pytest.mark.parametrize("keep", ["beginning", "end"])
def test_a_long_text_keeps_the_end_that_was_asked_for(tmp_path, keep):
    made = save(tmp_path)
    long = Example(
        "0" * 32,
        (
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "a" * 300 + "b" * 300},
        ),
    )
    found = load(tmp_path, keep=keep)([long, EXAMPLES[0]])
    kept = "a" * 254 if keep == "beginning" else "b" * 254
    assert found["truncated"].tolist() == [True, False]
    assert found["score"][0] == pytest.approx(logits(*made, kept)[0], abs=1e-5)


def test_a_reward_model_scores_as_the_scorer_reward_does(tmp_path):
    save(tmp_path)
    found = load(tmp_path, format="chat", keep="end")(EXAMPLES)
    reward = Reward().load(LoadContext("cpu", "float32", str(tmp_path)))(EXAMPLES)
    assert found["score"].tobytes() == reward["reward"].tobytes()
    options = ScoringOptions(device="cpu")
    keys = [
        request_for(Classifier(format=f), "c", str(tmp_path), options).key for f in ("chat", "text")
    ]
    assert keys[0].template.startswith("chat@") and keys[1].template == "text"


def test_labels_without_numbers_and_unknown_labels_are_refused(tmp_path):
    save(tmp_path, ("bad", "good"))
    with pytest.raises(
        ModelError, match=r"have no numbers to expect one of: bad, good; say whose .*label=bad"
    ):
        load(tmp_path)
    with pytest.raises(
        ModelError, match=r"no label 'goood'; did you mean 'good'; choose one of: bad"
    ):
        load(tmp_path, label="goood")
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"no chat template, which classifier.format=chat needs"):
        load(tmp_path, format="chat", label="good")
    with pytest.raises(
        ModelError, match=r"has 2 labels \(bad, good\), but a reward model has one; .*classifier"
    ):
        Reward("pair").load(LoadContext("cpu", "float32", str(tmp_path)))


def test_a_model_without_a_head_is_refused(tiny_model):
    with pytest.raises(ModelError, match="is not a classifier: its weights lack score.weight"):
        build(Classifier, {}).load(LoadContext("cpu", "float32", str(tiny_model)))


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["LABEL_0", "LABEL_1"], [0, 1]), (["-1", "0.5"], [-1, 0.5]), (["score: 3", "4"], [3, 4]),
        (["low", "1"], None), (["1 of 2", "2 of 2"], None), (["v1", "v2"], None), (["1", "1.0"], None),
    ],
)  # fmt: skip
def test_numbers_in_labels(labels, numbers):
    assert numbers_of(labels) == numbers
