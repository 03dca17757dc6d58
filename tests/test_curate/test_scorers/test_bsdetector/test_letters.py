import numpy as np
import pytest

from curate.errors import ModelError
from curate.scorers.bsdetector.letters import letter_log_probs, letter_tokens


def words(*vocabulary):
    """A tokenizer of whole words; any other text is one unknown token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    listed = {word: number for number, word in enumerate(["<unk>", *vocabulary])}
    backend = Tokenizer(models.WordLevel(listed, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_every_way_of_writing_a_letter_as_one_token_counts():
    tokenizer = words("A", " A", "(A", "a", "B", " b", "C", "(c", "AB")
    assert letter_tokens(tokenizer, "m") == {"A": (1, 2, 3, 4), "B": (5, 6), "C": (7, 8)}


def test_a_letter_without_a_token_is_an_error_that_says_what_to_do():
    with pytest.raises(
        ModelError, match="tokenizer of model 'm' has no single token for the choice 'B'"
    ):
        letter_tokens(words("A", "C"), "m")
    with pytest.raises(ModelError, match="--set confidence.reflection=generate"):
        letter_tokens(words("A", "B"), "m")


def test_a_byte_level_tokenizer_has_all_letters(tiny_tokenizer):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_tokenizer)
    found = letter_tokens(tokenizer, "m")
    assert all(tokenizer.decode([ids[0]]) == letter for letter, ids in found.items())
    assert len({i for ids in found.values() for i in ids}) == sum(map(len, found.values()))


def test_probabilities_of_the_ways_add_up():
    letters = {"A": (7, 3), "B": (5,), "C": (9,)}
    log_probs = np.log([[0.1, 0.2, 0.3, 0.05], [0.25, 0.25, 0.25, 0.25]])
    found = letter_log_probs(log_probs, [3, 5, 7, 9], letters)
    np.testing.assert_allclose(np.exp(found), [[0.4, 0.2, 0.05], [0.5, 0.25, 0.25]])
