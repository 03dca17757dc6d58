import json

import numpy as np
import pytest
import torch
from tiny_nli import MNLI, save_tiny_nli

from curate.errors import ModelError
from curate.models.classifiers.nli import contradiction_label, load_nli, resolve_nli

PAIRS = [("the sea", "a lake"), ("a lake", "the sea"), ("x", "a long text " * 9), ("one", "one")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_nli(tmp_path_factory.mktemp("tiny-nli"))


def test_probabilities_are_those_of_one_true_pair_at_a_time(folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    found, tokens = load_nli(str(folder), "cpu", "float32").contradictions(PAIRS)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for pair, value, n_tokens in zip(PAIRS, found, tokens, strict=True):
        inputs = tokenizer(*pair, return_tensors="pt")
        with torch.no_grad():
            wanted = model(**inputs).logits.softmax(-1)[0, 0]
        assert value == pytest.approx(float(wanted), abs=1e-6)
        assert n_tokens == inputs["input_ids"].shape[1] == len("".join(pair)) + 3
    assert found[0] != found[1] and 0.01 < found.min() < found.max() < 0.99


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_the_order_of_the_labels_plays_no_part(folder, tmp_path, order):
    plain, _ = load_nli(str(folder), "cpu", "float32").contradictions(PAIRS)
    labels = [MNLI[i].upper() for i in order]
    shuffled = load_nli(str(save_tiny_nli(tmp_path / "n", labels)), "cpu", "float32")
    np.testing.assert_allclose(shuffled.contradictions(PAIRS)[0], plain, atol=1e-7)


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
def test_probabilities_do_not_depend_on_the_batch(folder, batch_tokens):
    plain, _ = load_nli(str(folder), "cpu", "float32").contradictions(PAIRS)
    found, _ = load_nli(str(folder), "cpu", "float32", batch_tokens).contradictions(PAIRS)
    np.testing.assert_allclose(found, plain, atol=1e-6)


def test_the_longer_text_beyond_the_limit_is_cut(folder):
    model = load_nli(str(folder), "cpu", "float32")
    assert model.limit == 256
    long = [("short", "w" * 400)]
    assert model.lengths(long).tolist() == [408]
    found, tokens = model.contradictions(long)
    assert tokens.tolist() == [256]
    assert found[0] == pytest.approx(model.contradictions([("short", "w" * 248)])[0][0], abs=1e-6)
    assert model.lengths([]).tolist() == [] and len(model.contradictions([])[0]) == 0


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), "0: LABEL_0, 1: LABEL_1, 2: LABEL_2"),
        (("entailment", "not_entailment"), "0: entailment, 1: not_entailment"),
        (("contradiction", "contradictory"), "0: contradiction, 1: contradictory"),
    ],
)
def test_unknown_labels_are_an_error_before_anything_is_loaded(tmp_path, labels, listed):
    folder = save_tiny_nli(tmp_path, labels)
    for find in (lambda: resolve_nli(str(folder)), lambda: load_nli(str(folder), "cpu", "float32")):
        with pytest.raises(ModelError, match=f"has the labels {listed}; exactly one must be named"):
            find()


def test_a_label_may_be_written_in_any_case():
    assert contradiction_label("m", {0: "Entailment", 1: " CONTRADICTION"}) == 1


def test_a_model_without_a_trained_classifier_is_refused(folder, tmp_path):
    from transformers import BertModel

    BertModel.from_pretrained(folder).save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ModelError, match="is not an NLI model: its weights lack classifier"):
        load_nli(str(tmp_path), "cpu", "float32")


def test_positions_that_start_after_the_padding_shorten_the_limit():
    from transformers import BertConfig, RobertaConfig

    from curate.models.load import position_limit

    class Tokenizer:
        model_max_length = 10**30

    assert (
        position_limit(RobertaConfig(max_position_embeddings=514, pad_token_id=1), Tokenizer())
        == 512
    )
    assert position_limit(BertConfig(max_position_embeddings=512), Tokenizer()) == 512
