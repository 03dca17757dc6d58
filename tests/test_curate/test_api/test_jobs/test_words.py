"""Options given as keywords become the words one would type."""

import pytest

from curate.api.jobs.words import command_words, refuse_secrets
from curate.errors import ConfigError


def test_lists_repeat_an_option_or_are_joined_where_it_takes_one():
    words = command_words(
        "prove",
        {
            "methods": ["grape", "ifd"], "target": ["a.jsonl", "b.jsonl"], "model": "m", "budget": 5,
            "seeds": 3,
        },
    )  # fmt: skip
    assert words[0] == "prove"
    assert " ".join(words[1:]).startswith("--methods grape,ifd --target a.jsonl --target b.jsonl")
    assert words[-2:] == ["--seeds", "3"]


def test_mappings_truths_nothing_and_arguments():
    words = command_words(
        "ingest", {"data": ["a.jsonl", "b.csv"], "column": {"messages": "dialogs"}}
    )
    assert words == ["ingest", "a.jsonl", "b.csv", "--column", "messages=dialogs"]
    flags = {"scorer": "length", "dry_run": True, "quiet": False, "limit": None, "alias": "mine"}
    assert command_words("score", flags) == [
        "score",
        "--scorer",
        "length",
        "--dry-run",
        "--as",
        "mine",
    ]


@pytest.mark.parametrize(
    ("command", "options", "say"),
    [
        ("scor", {}, "'scor' is not a command; choose one of: ingest, target, gather, score"),
        ("methods", {}, "'methods' does not work on a store; choose one of"),
        ("score", {"scoer": "x"}, "curate score has no option 'scoer'; did you mean 'scorer'"),
        ("score", {"zzz": "x"}, "curate score has no option 'zzz'; see curate score --help"),
        ("score", {}, "curate score needs 'scorer'; add scorer=VALUE"),
    ],
)
def test_a_wrong_request_says_what_would_be_right(command, options, say):
    with pytest.raises(ConfigError, match=say):
        command_words(command, options)


@pytest.mark.parametrize(
    "options",
    [
        {"parts": "s3://user:secret@bucket/a"},
        {"parts": "s3:/user:secret@bucket/a"},
        {"parts": "https://host/a?sig=secret"},
        {"settings": {"judge.server": "http://user:secret@127.0.0.1:8000/v1"}},
        {"settings": ["judge.server=http://secret@127.0.0.1:8000/v1"]},
        {"data": ["pool.jsonl", "hf://user:secret@datasets/a"]},
    ],
)
def test_an_address_with_a_login_goes_into_no_record(options):
    with pytest.raises(ConfigError) as caught:
        refuse_secrets(options)
    [name] = options
    assert str(caught.value) == (
        f"{name} holds an address with a user name, a password or a query, which would be kept in the job's "
        "record; give the bare address, and credentials by the environment"
    )


def test_what_holds_no_login_is_taken():
    refuse_secrets(
        {
            "parts": "s3://bucket/a@b", "where": "contains(prompt, 'http://a@b?c')", "model": "org/a@rev",
            "limit": 3, "output": None, "settings": {"judge.server": "http://127.0.0.1:8000/v1"},
        }
    )  # fmt: skip
