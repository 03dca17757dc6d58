"""One declaration is a flag, a recipe key and a keyword: no command says them twice."""

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import typer

from curate.api.commands.catalogue import COMMANDS, STEPS, SUMMARIES
from curate.api.commands.groups import Shell, flags_of
from curate.api.commands.option import (
    by_word,
    from_keywords,
    option,
    options_of,
    passed_on,
    settle,
)
from curate.api.keywords import made, takes
from curate.api.pool import Pool
from curate.cli.app import app
from curate.errors import ConfigError

# A whole recipe is planned by `curate run --dry-run`, and a step of it is never an estimate.
NOT_IN_RECIPES = {
    "dry_run": {"gather", "score", "select", "train", "prove"},
    "limit": {"score"},
    "slice": {"score"},
    "profile": {"score"},
    "parts": {"score"},
    "plan_only": {"score"},
}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A command with an option of each kind."""

    command: ClassVar[str] = "made"

    name: str = option(..., "Needed.")
    count: int = option(3, "A number.", short="-n")
    share: float | None = option(None, "Another.", flag="--part")
    kind: Literal["low", "high"] = option("low", "A choice.")
    files: tuple[str, ...] = option((), "Repeated.")
    ids: tuple[str, ...] = option((), "With commas.", commas=True)
    settings: Mapping[str, str] = option({}, "By key.", flag="--set", also=("further",))
    place: Path | None = option(None, "A path.")


def flags(command: str) -> dict[str, set[str]]:
    """Return what the real command line takes, by the name of the parameter."""
    parser = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    found = parser.get_params(typer.Context(parser))
    return {one.name: set(one.opts) for one in found if one.name != "help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_listed_by_its_own_name_and_docstring(command):
    assert (COMMANDS[command].command, COMMANDS[command].__doc__) == (command, SUMMARIES[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_has_exactly_the_declared_flags(command):
    declared = flags_of(COMMANDS[command])
    shown = flags(command)
    assert set(shown) == {one.name for one in declared}
    for one in declared:
        assert one.flag in shown[one.name]
        assert one.declared.short in {"", *shown[one.name]}


@pytest.mark.parametrize("command", STEPS)
def test_flags_recipe_keys_and_keywords_are_the_same_options(command):
    cls = COMMANDS[command]
    shell = {one.name for one in options_of(Shell)}
    on_the_command_line = set(flags(command)) - shell
    in_recipes = {one.name for one in by_word(cls, "recipe").values()}
    keywords = set(inspect.signature(getattr(Pool, command)).parameters) - {"self", "fields"}
    left_out = {name for name, commands in NOT_IN_RECIPES.items() if command in commands}
    assert on_the_command_line == keywords == in_recipes | left_out
    assert not in_recipes & left_out


@pytest.mark.parametrize("command", COMMANDS)
def test_no_two_options_of_a_command_share_a_flag_or_a_word(command):
    declared = flags_of(COMMANDS[command])
    for called in (lambda one: {one.flag}, lambda one: {one.declared.short} - {""}):
        said = [word for one in declared for word in called(one)]
        assert len(said) == len(set(said))
    words = [word for one in declared for word in one.words]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("command", STEPS)
def test_help_of_a_pool_s_method_says_each_option(command):
    described = inspect.getdoc(getattr(Pool, command))
    for one in options_of(COMMANDS[command]):
        assert f"{one.name}\n    {one.declared.help}" in described


def test_values_are_read_by_type_from_text_and_kept_otherwise():
    text = {"name": "x", "count": "1e3", "part": "0.5", "files": "a,b", "ids": "a, b", "place": "c"}
    made = from_keywords(Made, {**text, "set": {"k": 1}, "further": {"m": "2"}})
    assert (made.count, made.share, made.files) == (1000, 0.5, ("a,b",))
    assert (made.ids, made.place) == (("a", "b"), Path("c"))
    assert made.settings == {"k": 1, "m": "2"}
    assert from_keywords(Made, {"name": Path("x"), "files": [Path("a")]}).files == ("a",)
    assert from_keywords(Made, {"name": "none", "settings": ["a=1"]}) == Made(
        name="none", settings={"a": "1"}
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nam": "x"}, "made has no option 'nam'; did you mean 'name'; its options are: name, count"),
        ({}, "name is missing; add it"),
        ({"name": "x", "count": "three"}, "count='three' is not a whole number"),
        ({"name": "x", "kind": "hgh"}, "kind='hgh' is not one of low, high; did you mean 'high'"),
        ({"name": "x", "settings": "k"}, "settings='k' takes KEY=VALUE, got 'k'"),
        ({"name": "x", "set": 3}, "settings=3 is not a mapping of names to values"),
        ({"name": "x", "place": 3}, "place=3 is not a path"),
        ({"name": None}, "name=None is not text"),
        ({"name": "x", "part": 1, "share": 2}, "share is given twice, as 'share' too; give it once"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence_without_a_class_s_name(given, words):
    with pytest.raises(ConfigError) as caught:
        from_keywords(Made, given)
    assert words in str(caught.value)
    assert "Made" not in str(caught.value)


def test_an_option_is_called_what_the_caller_calls_it():
    with pytest.raises(ConfigError, match=r"^--part='x' is not a number$"):
        settle(Made, {"name": "n", "share": "x"}, lambda one: one.flag)


def test_values_are_passed_on_by_name():
    @dataclass(frozen=True)
    class Lower:
        count: int
        kind: str
        elsewhere: int = 0

    assert passed_on(Made(name="x", count=2), Lower, without=("kind",)) == {"count": 2}


def spelt(hint) -> set[object]:
    """Return the types and choices a hint allows, without its wrappers."""
    if typing.get_origin(hint) is tuple or typing.get_origin(hint) is Sequence:
        return {Sequence}
    if typing.get_origin(hint) is Mapping:
        return {Mapping}
    arguments = typing.get_args(hint)
    return set().union(*map(spelt, arguments)) if arguments else {hint}


@pytest.mark.parametrize("command", STEPS)
def test_a_signature_says_the_types_and_defaults_of_the_declared_options(command):
    parameters = inspect.signature(getattr(Pool, command)).parameters
    for one in options_of(COMMANDS[command]):
        if "python" not in one.declared.places:
            continue
        parameter = parameters[one.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        said, declared = parameter.annotation, one.hint
        assert said is typing.Any or spelt(declared) <= spelt(said), one.name
        if one.required:
            assert parameter.default is parameter.empty, one.name
        else:
            nothing = one.default in ((), {}, None)
            assert (
                parameter.default in ((), None) if nothing else parameter.default == one.default
            ), one.name


def test_a_method_answers_to_the_words_of_a_recipe_and_refuses_others():
    class Owner:
        @takes(Made)
        def method(self, name: str, *, count: int = 3, settings=None):
            """Do it."""
            return made(Made, locals())

    assert "Do it.\n\nParameters\n----------\nname\n    Needed." in Owner.method.__doc__
    assert list(inspect.signature(Owner.method).parameters) == ["self", "name", "count", "settings"]
    assert Owner().method("x", set={"k": 1}, further={"m": 2}) == Made(
        name="x", settings={"k": 1, "m": 2}
    )
    with pytest.raises(ConfigError, match="made has no option 'coun'; did you mean 'count'; its"):
        Owner().method("x", coun=3)
    with pytest.raises(ConfigError, match="name is missing; add it"):
        Owner().method(count=3)
