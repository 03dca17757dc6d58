from hashlib import sha256

import pytest

from curate.contracts import Example, LoadContext
from curate.errors import ConfigError
from curate.scorers.hashed_ngrams import HashedNgrams, in_buckets
from curate.testing import check_scorer


def test_it_keeps_the_contract():
    check_scorer(HashedNgrams())


def test_buckets_are_those_of_the_official_hash():
    """Lower case, runs of word characters or of punctuation, SHA-256 of the text modulo buckets."""
    tokens = ["don", "'", "t", "panic", "!!"]
    pairs = ["don '", "' t", "t panic", "panic !!"]
    expected = [int(sha256(one.encode()).hexdigest(), 16) % 10_000 for one in tokens + pairs]
    assert in_buckets("Don't PANIC!!", 10_000).tolist() == expected


def test_prompt_and_response_both_count_and_one_without_text_fails():
    example = Example(
        "a" * 32, ({"role": "user", "content": "Say"}, {"role": "assistant", "content": "so"})
    )
    empty = Example("b" * 32, ({"role": "assistant", "content": " "},))
    columns = HashedNgrams(97).load(LoadContext("cpu", "float32"))([example, empty])
    assert sorted(columns["buckets"][0]) == sorted(in_buckets("say so", 97))
    assert columns["failure"].tolist() == [None, "no_words"]


def test_too_few_buckets_are_refused():
    with pytest.raises(ConfigError, match="hashed-ngrams.buckets=1 must be 2 to"):
        HashedNgrams(1)
