"""List scorers, selection methods and ways to train, or describe one with its fields and paper."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from curate.cli.console import emit, table
from curate.cli.options import Json

if TYPE_CHECKING:
    from curate.registry import Description, Kind


def command(
    name: Annotated[str | None, typer.Argument(help="What to describe.")] = None,
    as_json: Json = False,
) -> None:
    """List scorers, selection methods and ways to train, or describe one with its fields and paper."""
    from curate import registry

    kinds = get_args(registry.Kind)
    described = {
        kind: [registry.describe(registry.get(kind, one)) for one in registry.names(kind)]
        for kind in kinds
    }
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
        emit(document, as_json, "\n\n".join(tables))
        return
    found = [d for kind in kinds for d in described[kind] if d.name == name]
    if not found:
        kind = _nearest_kind(name, {kind: registry.names(kind) for kind in kinds})
        registry.get(kind, name)  # says what is known, with the nearest spelling
    emit({d.kind: d.to_json() for d in found}, as_json, "\n\n\n".join(_described(d) for d in found))


def _nearest_kind(name: str, known: "Mapping[Kind, list[str]]") -> "Kind | Literal['method']":
    """Return the kind that has the name closest in spelling, ``method`` where none is close."""
    near = get_close_matches(name, [one for names in known.values() for one in names], n=1)
    found = [kind for kind, names in known.items() if near and near[0] in names]
    return found[0] if found and found[0] not in ("selector", "procedure") else "method"


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _described(d: "Description") -> str:
    from curate.train.config import SEAMS

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
