"""One step of a recipe: its keys become a command, its ``from`` what an earlier step makes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from curate.api.commands.catalogue import COMMANDS
from curate.api.commands.option import Option, Product, by_word, options_of, put, settle
from curate.contracts import ROLES
from curate.contracts.settings import spell_value
from curate.data.read.given import InMemory
from curate.errors import ConfigError, did_you_mean

PREVIOUS: Final = "previous"
FROM: Final = "from"
NAME: Final = "name"
MAKES: Final[Mapping[str, Product]] = {"select": "selection", "train": "model"}

# Of the section `models`, what each command reads; the batches of training are not those of scoring.
_OF_SCORING: Final = (
    "model", "model_for", "adapter", "revision", "template", "reasoning", "template_args",
    "chat_template", "mask", "device", "dtype", "batch_tokens", "workers", "max_failures",
)  # fmt: skip
_SHARED: Final[Mapping[str, Sequence[str]]] = {
    "score": _OF_SCORING,
    "gather": [name for name in _OF_SCORING if name not in ("model", "model_for", "adapter")],
    "select": _OF_SCORING,
    "prove": [name for name in _OF_SCORING if name not in ("adapter", "batch_tokens")],
    "train": (
        "model",
        "revision",
        "reasoning",
        "template_args",
        "chat_template",
        "mask",
        "device",
        "dtype",
    ),
}


@final
@dataclass(frozen=True, slots=True)
class RecipeStep:
    """One command of a recipe, checked.

    Parameters
    ----------
    name
        What ``from`` and ``--set`` call it.
    path
        Where it stands in the file, for messages.
    options
        The command itself.
    inputs
        Which option is filled by what an earlier step makes, by the option's name.
    """

    name: str
    path: str
    options: Any
    inputs: Mapping[str, str]

    @property
    def command(self) -> str:
        """Which command it is."""
        return str(self.options.command)

    @property
    def label(self) -> str:
        """The command and, where it has another, its name."""
        return self.command if self.name == self.command else f"{self.command} {self.name}"


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One step as it is written: its command, its name and its keys."""

    command: str
    name: str
    path: str
    given: dict[str, Any]


def read_step(entry: Entry, models: Mapping[str, Any], earlier: Sequence[RecipeStep]) -> RecipeStep:
    """Check one step: its keys, their values, and the earlier steps it takes something from."""
    cls = COMMANDS[entry.command]
    known = by_word(cls, "recipe")
    own = {key: value for key, value in entry.given.items() if key not in (NAME, FROM)}
    check_keys(own, f"{entry.path}.", [option.key for option in options_of(cls)], known)
    values: dict[str, Any] = {}
    called: dict[str, str] = {}
    for word, value in own.items():
        put(values, known[word], _spelled(known[word], value), f"{entry.path}.{word}")
        called[known[word].name] = word
    inputs = _inputs(entry, earlier, values)
    shared = {name: models[name] for name in _SHARED.get(entry.command, ()) if name in models}
    for name, value in shared.items():
        if isinstance(value, Mapping):
            values[name] = {**value, **values.get(name, {})}
        elif name not in inputs:
            values.setdefault(name, value)
    expected = {name: f"what {source!r} makes" for name, source in inputs.items()}
    options = settle(
        cls,
        {**values, **expected},
        lambda option: f"{entry.path}.{called.get(option.name, option.key)}",
    )
    if (check := getattr(options, "check", None)) is not None:
        check()
    return RecipeStep(entry.name, entry.path, options, inputs)


def _inputs(
    entry: Entry, earlier: Sequence[RecipeStep], values: Mapping[str, Any]
) -> dict[str, str]:
    """Return, by option, the earlier step whose product it takes."""
    asked = entry.given.get(FROM, [])
    inputs: dict[str, str] = {}
    for word in asked if isinstance(asked, list) else [asked]:
        source = _source(str(word), f"{entry.path}.{FROM}", earlier)
        product = MAKES[source.command]
        for name in _takers(entry, source, product):
            if name in values or name in inputs:
                raise ConfigError(
                    f"{entry.path}.{FROM}: {product} {name!r} is given already; leave one of them out"
                )
            inputs[name] = source.name
    return inputs


def _source(word: str, path: str, earlier: Sequence[RecipeStep]) -> RecipeStep:
    makers = [step for step in earlier if step.command in MAKES]
    if word == PREVIOUS and makers:
        return makers[-1]
    named = [step for step in makers if step.name == word]
    if named:
        return named[0]
    names = [step.name for step in makers]
    raise ConfigError(
        f"{path}: no earlier step {word!r} makes a selection or a model"
        f"{did_you_mean(word, names)}; those that do: {', '.join(names) or 'none'}"
    )


def _takers(entry: Entry, source: RecipeStep, product: Product) -> list[str]:
    """Return the options that take what a step makes; of an adapter that is the base model too."""
    options = options_of(COMMANDS[entry.command])
    takers = [option.name for option in options if option.declared.takes == product]
    if not takers:
        raise ConfigError(
            f"{entry.path}.{FROM}: {source.name!r} makes a {product}, but {entry.command} takes none"
        )
    if product == "model" and is_adapter(source):
        if "adapter" not in {option.name for option in options}:
            raise ConfigError(
                f"{entry.path}.{FROM}: {source.name!r} trains an adapter, but {entry.command} takes "
                "none; train it without lora"
            )
        takers.append("adapter")
    return takers


def is_adapter(step: RecipeStep) -> bool:
    """Whether what a training step writes is an adapter of its model."""
    options = step.options
    return bool(options.lora) or any(key.startswith("lora.") for key in options.settings)


def _spelled(option: Option, value: Any) -> Any:
    """Return a YAML value as the command line has it: values by key are text there."""
    if not (option.is_mapping and isinstance(value, Mapping)) or option.declared.read is not None:
        return value
    texts = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return {str(key): spell_value(inner) for key, inner in texts.items()}


def read_models(given: Any) -> dict[str, Any]:
    """Return the section ``models`` as options of scoring: each role's model by its own key."""
    section = read_mapping(given, "models")
    known = [*ROLES, *(name for name in _OF_SCORING if name not in ("model", "model_for"))]
    check_keys(section, "models.", known)
    values = {key: value for key, value in section.items() if value is not None}
    roles = {key: str(values.pop(key)) for key in ROLES if key in values}
    target = roles.pop("target", None)
    options = {**values, **({"model_for": roles} if roles else {})}
    return options if target is None else {"model": target, **options}


def check_keys(
    given: Iterable[Any], path: str, shown: Sequence[str], known: Iterable[str] = ()
) -> None:
    """Raise for a key that is neither shown nor known, with the nearest spelling and those shown."""
    for key in given:
        if key not in {*shown, *known}:
            raise ConfigError(
                f"unknown key {path + str(key)!r}{did_you_mean(str(key), [*shown, *known])}; "
                f"known here: {', '.join(shown)}"
            )


def read_mapping(value: Any, path: str) -> dict[str, Any]:
    """Return the keys of a section or step; raise `ConfigError` for anything but a mapping."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must be a mapping of keys to values, got {value!r}")
    return {str(key): inner for key, inner in value.items()}


def filled(step: RecipeStep, named: bool = False) -> dict[str, Any]:
    """Return a step as it would be written with every default; ``named``: with its name."""
    values: dict[str, Any] = {NAME: step.name} if named else {}
    if step.inputs:
        values[FROM] = list(dict.fromkeys(step.inputs.values()))
    for option in options_of(type(step.options)):
        value = getattr(step.options, option.name)
        empty = value is None or (isinstance(value, tuple | Mapping) and not value)
        if "recipe" in option.declared.places and option.name not in step.inputs and not empty:
            values[option.key] = _as_yaml(value)
    return values


def _as_yaml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_yaml(inner) for key, inner in value.items()}
    if isinstance(value, InMemory):
        return value.rows
    if isinstance(value, tuple):
        return [_as_yaml(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
