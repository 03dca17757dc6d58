"""Help, as it is read in a terminal of 80 columns."""

import re
import shlex
from typing import Literal, get_args, get_origin

import pytest

import curate as cu
from curate.api.commands.groups import flags_of
from curate.cli.app import COMMANDS, _parser
from curate.cli.epilogs import EXAMPLES, START


@pytest.fixture
def shown(curate, monkeypatch):
    """Return the help of a command at a width of 80."""

    def run(*words: str) -> str:
        for name, value in {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        done = curate(*words, "--help")
        assert done.code == 0
        return done.out

    return run


@pytest.mark.parametrize("words", [(), *((command,) for command in COMMANDS)], ids=str)
def test_help_fits_80_columns_and_cuts_no_word(shown, words):
    text = shown(*words)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\u2026" not in text, "an option's name is cut"
    assert not re.search(r"<(bool|str|int|float|path|list\[)", text), "a type of Python is shown"


@pytest.mark.parametrize("words", [(), *((command,) for command in COMMANDS)], ids=str)
def test_help_ends_with_examples_each_on_one_line(shown, words):
    text = shown(*words)
    _, _, last = text.rpartition("Examples:")
    lines = [line.strip() for line in last.splitlines() if line.strip()]
    assert lines == list(EXAMPLES[words[0]] if words else START)


@pytest.mark.parametrize("example", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_a_command_that_the_parser_takes(example):
    _, name, *words = shlex.split(example)
    assert example in EXAMPLES[name]
    assert _parser().commands[name].make_context(name, words).params


def test_every_command_has_examples():
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_choices_too_long_to_stand_beside_a_flag_are_in_its_text(command):
    for option in flags_of(COMMANDS[command]):
        for hint in (option.hint, *get_args(option.hint)):
            if get_origin(hint) is Literal:
                text = f"{option.declared.help} {'|'.join(get_args(hint))[:12]}"
                assert all(choice in text for choice in get_args(hint)), option.name


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("export --selection latest -o x.jsonl --to alpacca", "alpaca"),
        ("selections renam latest x", "rename"),
        ("select --metod ifd", "--method"),
        ("selct", "select"),
    ],
)
def test_what_is_misspelt_gets_the_nearest_spelling(curate, words, near):
    done = curate(*words.split())
    assert done.code == 2
    assert f"; did you mean {near!r}" in done.err and done.err.startswith("UsageError: ")
    assert re.search(r"; see curate( \w+)? --help$", done.err.strip())


def test_latest_misspelt_gets_the_nearest_spelling(curate):
    curate_pool = [{"prompt": f"Say {n}.", "response": f"It is {n}."} for n in range(4)]
    cu.open("curate.duckdb", create=True).ingest(curate_pool)
    done = curate("export", "--selection", "latset", "-o", "x.jsonl")
    assert "no selection 'latset' in the store; did you mean 'latest'; the newest are" in done.err
