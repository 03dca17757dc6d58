"""List scorers, selection methods and ways to train, or describe one with its fields and paper."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, get_args

from curate import registry
from curate.api.commands.groups import Shell
from curate.api.commands.others import MethodsCommand
from curate.cli.console import emit, table
from curate.cli.options import from_options
from curate.errors import nearest
from curate.train.config import SEAMS

if TYPE_CHECKING:
    from curate.registry import Description, Kind


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
        tables = [
            table(
                ("name", "what it does"),
                [(d.name, d.summary) for d in described[kind]],
                _plural(kind),
            )
            for kind in kinds
        ]
        document = {_plural(kind): [d.to_json() for d in described[kind]] for kind in kinds}
        emit(document, shell.as_json, "\n\n".join(tables))
        return
    matching = [d for kind in kinds for d in described[kind] if d.name == name]
    if not matching:
        kind = _nearest_kind(name, {kind: registry.names(kind) for kind in kinds})
        registry.get(kind, name)  # says what is known, with the nearest spelling
    emit(
        {d.kind: d.to_json() for d in matching},
        shell.as_json,
        "\n\n\n".join(_described(d) for d in matching),
    )


def _nearest_kind(name: str, known: "Mapping[Kind, list[str]]") -> "Kind | Literal['method']":
    """Return the kind that has the name closest in spelling, ``method`` where none is close."""
    near = nearest(name, [candidate for names in known.values() for candidate in names])
    kinds = [kind for kind, names in known.items() if near in names]
    return kinds[0] if kinds and kinds[0] not in ("selector", "procedure") else "method"


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _described(d: "Description") -> str:
    parts = [f"{d.name} ({d.kind}): {d.summary}"]
    if d.experimental:
        parts.append(f"experimental: {d.experimental}")
    if d.details:
        parts.append(d.details)
    if d.fields:
        rows = [
            (f.name, f.type, "(required)" if f.required else str(f.default), f.doc)
            for f in d.fields
        ]
        flag = f"--set {d.kind}.FIELD=VALUE" if d.kind in SEAMS else "--set NAME=VALUE"
        parts.append(table(("field", "type", "default", "meaning"), rows, f"fields ({flag})"))
    if d.needs:
        needs = [(alias, str(need)) for alias, need in d.needs.items()]
        parts.append(table(("alias", "needs"), needs, "reads"))
    if d.outputs:
        outputs = [(f"{d.name}.{c}", o.dtype, o.meaning) for c, o in d.outputs.items()]
        parts.append(table(("column", "type", "meaning"), outputs, "writes"))
    return "\n\n".join([*parts, *d.references])
