"""Every scorer, method and way to train by name, found by importing their packages once.

A class enters by the `register` decorator: in a module of `curate.scorers`, `curate_selectors`,
`curate.train.objectives`, `curate.train.policies` or `curate.train.mixtures`, or in any installed
package by the entry point groups ``curate.scorers``, ``curate.selectors``, ``curate.procedures``,
``curate.objectives``, ``curate.policies`` and ``curate.mixtures``. There is no list to edit.
"""

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any, Final, Literal, TypeVar, cast, get_args

from curate.contracts import (
    BatchPolicy,
    Expression,
    Mixture,
    Need,
    Objective,
    Procedure,
    Scorer,
    Selector,
)
from curate.contracts.describe import (
    Description,
    FieldDescription,
    Kind,
    Registrable,
    describe,
    describe_fields,
    kind_of,
)
from curate.contracts.settings import build, spell_value
from curate.errors import ConfigError, did_you_mean

__all__ = [
    "Description", "FieldDescription", "Kind", "Registrable", "aliases", "build", "describe",
    "describe_fields", "get", "get_method", "get_mixture", "get_objective", "get_policy",
    "get_procedure", "get_scorer", "get_selector", "kind_of", "methods_by_purpose",
    "methods_overview", "methods_table", "names", "own_names", "register",
]  # fmt: skip

C = TypeVar("C", bound=type)

_PACKAGES: Final[Mapping[Kind, str]] = {
    "scorer": "curate.scorers", "selector": "curate_selectors", "procedure": "curate_selectors",
    "objective": "curate.train.objectives", "policy": "curate.train.policies",
    "mixture": "curate.train.mixtures",
}  # fmt: skip
_GROUPS: Final = (
    "curate.scorers", "curate.selectors", "curate.procedures",
    "curate.objectives", "curate.policies", "curate.mixtures",
)  # fmt: skip
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COLUMN_NAME: Final = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")  # expressions read "_" unquoted
_URL: Final = re.compile(r"https://\S+")
_classes: Final[dict[Kind, dict[str, type]]] = {kind: {} for kind in get_args(Kind)}


def register(cls: C) -> C:
    """Add a scorer, method or way to train under its ``name``; use it as the outermost decorator.

    Raises `ConfigError` when the class is of no kind, is abstract, is a scorer without
    ``version``, ``outputs`` or ``role``, is not a frozen dataclass, has no kebab-case name or alias,
    or one of them is taken. The name of a scorer may also have underscores, which expressions read
    without quotes. Selectors and procedures share one set of names, aliases included, because
    ``--method`` may name either.
    """
    kind = kind_of(cls)
    where = f"{cls.__module__}.{cls.__qualname__}"
    name = getattr(cls, "name", None)
    spelling = _COLUMN_NAME if kind == "scorer" else _NAME
    if not isinstance(name, str) or not spelling.fullmatch(name):
        raise ConfigError(f"{where} has name {name!r}; give it a kebab-case name, such as 'top-k'")
    if isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise ConfigError(f"{kind} {name!r} ({where}) is abstract; it must define {missing}")
    lacking = [
        attribute for attribute in ("version", "outputs", "role") if not hasattr(cls, attribute)
    ]
    if kind == "scorer" and lacking:
        raise ConfigError(
            f"scorer {name!r} ({where}) does not declare {', '.join(lacking)}; give it as a ClassVar"
        )
    if not is_dataclass(cls) or not cast(Any, cls).__dataclass_params__.frozen:
        raise ConfigError(
            f"{kind} {name!r} ({where}) is not a frozen dataclass; "
            "put @dataclass(frozen=True) under @register"
        )
    _refuse_taken(kind, where, name, "name")
    for alias in getattr(cls, "aliases", ()):
        if not isinstance(alias, str) or not _NAME.fullmatch(alias) or alias == name:
            raise ConfigError(
                f"{kind} {name!r} ({where}) has alias {alias!r}; give it a kebab-case name that is "
                "not its own, such as 'diverse'"
            )
        _refuse_taken(kind, where, alias, "alias")
    _classes[kind][name] = cls
    return cls


def _refuse_taken(kind: Kind, where: str, word: str, called: str) -> None:
    """Raise `ConfigError` if another class of the kinds that share names has a name or alias."""
    for other in _rivals(kind):
        for name, known in _classes[other].items():
            owner = f"{known.__module__}.{known.__qualname__}"
            if owner != where and word in (name, *getattr(known, "aliases", ())):
                raise ConfigError(
                    f"{kind} {called} {word!r} of {where} is taken by {owner}; rename one of them"
                )


def names(kind: Kind | Literal["method"]) -> list[str]:
    """Return the sorted names of one kind; ``method`` is selectors and procedures together."""
    _discover()
    return sorted(name for concrete in _kinds(kind) for name in _classes[concrete])


def get(kind: Kind | Literal["method"], name: str) -> Registrable:
    """Return a class by name; raise `ConfigError` with the nearest spelling and the list.

    Of the packages here, a file of that name is looked at first: it takes a tenth of a second to
    import all the others.
    """
    found = _known(kind, name)
    if found is None:
        _import_file(kind, name)
        found = _known(kind, name)
    if found is None:
        _discover()
        found = _known(kind, name)
    if found is not None:
        return found
    called = aliases(kind)
    if name in called:
        return get(kind, called[name])
    known = names(kind)
    hint = did_you_mean(str(name).lower().replace("_", "-"), [*known, *called])
    raise ConfigError(f"no {kind} {name!r}{hint}; choose one of: {', '.join(known) or 'none'}")


def _known(kind: Kind | Literal["method"], name: str) -> Registrable | None:
    for concrete in _kinds(kind):
        if name in _classes[concrete]:
            return cast(Registrable, _classes[concrete][name])
    return None


def _import_file(kind: Kind | Literal["method"], name: str) -> None:
    """Import the file of our packages that is called like a class, if there is one."""
    if not _COLUMN_NAME.fullmatch(name):
        return
    for package_name in dict.fromkeys(_PACKAGES[concrete] for concrete in _kinds(kind)):
        module_name = f"{package_name}.{name.replace('-', '_')}"
        if importlib.util.find_spec(module_name) is not None:
            importlib.import_module(module_name)


def aliases(kind: Kind | Literal["method"]) -> dict[str, str]:
    """Return the further names that classes of one kind answer to, which are never stored, and whose they are."""
    _discover()
    return {
        alias: name
        for concrete in _kinds(kind)
        for name, cls in _classes[concrete].items()
        for alias in getattr(cls, "aliases", ())
    }


def own_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by ``OWNER.field`` with the name of each method that is called by an alias."""
    called = aliases("method") if any("." in key for key in settings) else {}
    owners = {key: key.partition(".")[0] for key in settings if "." in key}
    return {
        called[owners[key]] + key[len(owners[key]) :] if owners.get(key) in called else key: value
        for key, value in settings.items()
    }


def get_scorer(name: str) -> type[Scorer]:
    """Return a scorer's class by name."""
    return cast(type[Scorer], get("scorer", name))


def get_selector(name: str) -> type[Selector]:
    """Return a selector's class by name."""
    return cast(type[Selector], get("selector", name))


def get_procedure(name: str) -> type[Procedure]:
    """Return a procedure's class by name."""
    return cast(type[Procedure], get("procedure", name))


def get_method(name: str) -> type[Selector | Procedure]:
    """Return what ``--method`` names: the class of a selector or a procedure."""
    return cast(type[Selector | Procedure], get("method", name))


def get_objective(name: str) -> type[Objective]:
    """Return an objective's class by name."""
    return cast(type[Objective], get("objective", name))


def get_policy(name: str) -> type[BatchPolicy]:
    """Return a batch policy's class by name."""
    return cast(type[BatchPolicy], get("policy", name))


def get_mixture(name: str) -> type[Mixture]:
    """Return a mixture's class by name."""
    return cast(type[Mixture], get("mixture", name))


def methods_by_purpose() -> dict[str, list[Description]]:
    """Return every method under what it is for, in order of purpose and name; without purpose last."""
    described = [describe(get_method(name)) for name in names("method")]
    purposes = sorted(
        {about.purpose for about in described}, key=lambda p: (p == Selector.purpose, p)
    )
    return {p: [about for about in described if about.purpose == p] for p in purposes}


def methods_table() -> str:
    """Return the table of all methods as Markdown, one row each, in order of name."""
    rows = ["| method | what it chooses | reads | settings | reference |", "|---|---|---|---|---|"]
    for name in names("method"):
        about = describe(get_method(name))
        note = f" Experimental: {about.experimental}." if about.experimental else ""
        cells = (
            f"`{name}`",
            about.summary + note,
            _reads(about.needs) if about.kind == "selector" else "what its stages read",
            ", ".join(f"`{_setting(item)}`" for item in about.fields) or "none",
            "; ".join(about.references) or "none",
        )
        rows.append(_row(*cells))
    return "\n".join(rows) + "\n"


def methods_overview() -> str:
    """Return a short table of all methods as Markdown: what each chooses, and its papers by number."""
    rows = ["| method | what it chooses | reads | papers |", "|---|---|---|---|"]
    for name in names("method"):
        about = describe(get_method(name))
        reads = _reads(about.needs) if about.kind == "selector" else "what its steps need"
        links = [_link(url) for reference in about.references for url in _URL.findall(reference)]
        mark = " *Experimental.*" if about.experimental else ""
        rows.append(_row(f"`{name}`", about.summary + mark, reads, ", ".join(links)))
    return "\n".join(rows) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _link(url: str) -> str:
    return f"[{url.removeprefix('https://').removeprefix('arxiv.org/abs/')}]({url})"


def _reads(needs: Mapping[str, Need | Expression] | None) -> str:
    if needs is None:
        return "an expression"
    texts = [
        f"`{need.text}`" if isinstance(need, Expression) else f"`{need.scorer or alias}`"
        for alias, need in needs.items()
    ]
    return ", ".join(texts) or "nothing"


def _setting(item: FieldDescription) -> str:
    return item.name if item.required else f"{item.name}={spell_value(item.default)}"


def _kinds(kind: Kind | Literal["method"]) -> tuple[Kind, ...]:
    if kind == "method":
        return ("selector", "procedure")
    if kind not in _classes:
        raise ConfigError(f"no kind {kind!r}; choose one of: {', '.join(_classes)}, method")
    return (kind,)


def _rivals(kind: Kind) -> tuple[Kind, ...]:
    """Return the kinds that share one set of names with a kind."""
    return ("selector", "procedure") if kind in ("selector", "procedure") else (kind,)


@cache
def _discover() -> None:
    for package_name in dict.fromkeys(_PACKAGES.values()):
        package = importlib.import_module(package_name)
        for module in pkgutil.walk_packages(package.__path__, package_name + "."):
            importlib.import_module(module.name)
    for group in _GROUPS:
        for point in entry_points(group=group):
            _load(point)


def _load(point: EntryPoint) -> None:
    owner = point.dist.name if point.dist is not None else "an unknown package"
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"entry point {point.name!r} ({point.value}) of package {owner!r} cannot be loaded: "
            f"{error}; repair the package, or remove it: pip uninstall {owner}"
        ) from error
    if isinstance(loaded, type):
        register(loaded)
