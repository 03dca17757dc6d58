"""List scorers, selection methods and ways to train, or describe one with its fields and paper."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Final, Literal, get_args

from curate import registry
from curate.api.commands.groups import Shell
from curate.api.commands.others import MethodsCommand
from curate.api.which_method import JOBS, WHEN_RANDOM_SUFFICES
from curate.cli.console import emit, joined, table
from curate.cli.options import from_options
from curate.contracts import Expression, Need
from curate.contracts.settings import spell_value
from curate.errors import nearest
from curate.train.config import SEAMS

if TYPE_CHECKING:
    from curate.registry import Description, Kind

_QUOTED: Final = re.compile(r"(?<!`)`{1,2}([^`]+)`{1,2}(?!`)")
_CITED: Final = re.compile(r"(\[\d+\])_")
_MOST_WIDE: Final = 100  # characters of a line of text


@from_options(MethodsCommand)
def command(options: MethodsCommand, shell: Shell) -> None:
    """Print everything that is registered, or one of them in full."""
    kinds = get_args(registry.Kind)
    described = {
        kind: [
            registry.describe(registry.get(kind, registered)) for registered in registry.names(kind)
        ]
        for kind in kinds
    }
    name = options.name
    if name is None:
        document = {_plural(kind): [d.to_json() for d in described[kind]] for kind in kinds}
        document["jobs"] = [asdict(job) for job in JOBS]
        emit(document, shell.as_json, _overview(described))
        return
    name = registry.aliases("method").get(name, name)
    matching = [d for kind in kinds for d in described[kind] if d.name == name]
    if not matching:
        known = {kind: [*registry.names(kind), *registry.aliases(kind)] for kind in kinds}
        registry.get(_nearest_kind(name, known), name)  # says what is known, with the nearest
    emit(
        {d.kind: d.to_json() for d in matching},
        shell.as_json,
        "\n\n\n".join(_described(d) for d in matching),
    )


def _overview(described: "Mapping[Kind, Sequence[Description]]") -> str:
    """Return which method to use, every method by purpose, then what methods are made of."""
    rows = [(job.name, job.options, job.evidence) for job in JOBS]
    which = table(("job", "curate select ...", "what is known"), rows, "which one should I use?")
    parts = [which, _filled(WHEN_RANDOM_SUFFICES), _filled(
        "curate methods NAME says how one works, what is known of it, what it costs and what can be set. "
        "curate prove compares any of them with random on your data."
    )]  # fmt: skip
    parts += [
        _listed(methods, f"methods: {purpose}")
        for purpose, methods in registry.methods_by_purpose().items()
    ]
    parts += [
        _listed(listed, _plural(kind))
        for kind, listed in described.items()
        if kind not in ("selector", "procedure")
    ]
    return joined(parts, "\n\n")


def _filled(text: str) -> str:
    return "\n".join(wrap(text, min(shutil.get_terminal_size().columns, _MOST_WIDE)))


def _nearest_kind(name: str, known: "Mapping[Kind, list[str]]") -> "Kind | Literal['method']":
    """Return the kind that has the name closest in spelling, ``method`` where none is close."""
    near = nearest(name, [candidate for names in known.values() for candidate in names])
    kinds = [kind for kind, names in known.items() if near in names]
    return kinds[0] if kinds and kinds[0] not in ("selector", "procedure") else "method"


def _listed(described: "Sequence[Description]", title: str) -> str:
    rows = [(d.name, _plain(d.summary) + _remarks(d)) for d in described]
    return table(("name", "what it does"), rows, title)


def _remarks(described: "Description") -> str:
    """Return what the list says of a method besides what it does."""
    also = f" Also called {', '.join(described.aliases)}." if described.aliases else ""
    return f"{also} Experimental." if described.experimental else also


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _described(d: "Description") -> str:
    also = f", also called {', '.join(d.aliases)}" if d.aliases else ""
    parts = [f"{d.name} ({d.kind}{also}): {_plain(d.summary)}"]
    if d.experimental:
        parts.append(f"experimental: {d.experimental}")
    if d.details:
        parts.append(_plain(d.details))
    if d.fields:
        rows = [
            (f.name, f.type, "(required)" if f.required else spell_value(f.default), _plain(f.doc))
            for f in d.fields
        ]
        flag = f"--set {d.kind}.FIELD=VALUE" if d.kind in SEAMS else "--set NAME=VALUE"
        parts.append(table(("field", "type", "default", "meaning"), rows, f"fields ({flag})"))
    if d.needs:
        needs = [(alias, _need(need)) for alias, need in d.needs.items()]
        parts.append(table(("alias", "needs"), needs, "reads"))
    if d.outputs:
        outputs = [(f"{d.name}.{c}", o.dtype, _plain(o.meaning)) for c, o in d.outputs.items()]
        parts.append(table(("column", "type", "meaning"), outputs, "writes"))
    return "\n\n".join([*parts, *map(_plain, d.references)])


def _plain(text: str) -> str:
    """Return text without the marks of its markup: what a docstring quotes, names and cites.

    Examples
    --------
    >>> _plain("``k`` clusters, as `kmq` [1]_ draws")
    'k clusters, as kmq [1] draws'
    """
    return _CITED.sub(r"\1", _QUOTED.sub(r"\1", text))


def _need(need: Need | Expression) -> str:
    """Say what a method reads under one of its names.

    Examples
    --------
    >>> _need(Need("words", config={"part": "full"}))
    'scorer words with part=full'
    """
    if isinstance(need, Expression):
        return f"the expression {need.text}"
    if need.scorer is None:
        return "a score set of that name, which must be there"
    settings = ", ".join(f"{name}={spell_value(value)}" for name, value in need.config.items())
    role = f", by the {need.role} model" if need.role else ""
    return f"scorer {need.scorer}{f' with {settings}' if settings else ''}{role}"
