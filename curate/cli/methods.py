"""List selection methods and scorers, or describe one with its fields and paper."""

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from curate.cli.console import emit, table
from curate.cli.options import Json

if TYPE_CHECKING:
    from curate.registry import Description


def command(
    name: Annotated[str | None, typer.Argument(help="A method or scorer to describe.")] = None,
    as_json: Json = False,
) -> None:
    """List selection methods and scorers, or describe one with its fields and paper."""
    from curate import registry

    kinds = get_args(registry.Kind)
    described = {
        kind: [registry.describe(registry.get(kind, one)) for one in registry.names(kind)]
        for kind in kinds
    }
    if name is None:
        tables = [
            table(
                ("name", "what it does"), [(d.name, d.summary) for d in described[kind]], f"{kind}s"
            )
            for kind in kinds
        ]
        document = {f"{kind}s": [d.to_json() for d in described[kind]] for kind in kinds}
        emit(document, as_json, "\n\n".join(tables))
        return
    found = [d for kind in kinds for d in described[kind] if d.name == name]
    if not found:
        registry.get_method(name)  # says what is known, with the nearest spelling
    emit({d.kind: d.to_json() for d in found}, as_json, "\n\n\n".join(_described(d) for d in found))


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
        parts.append(
            table(("field", "type", "default", "meaning"), rows, "fields (--set NAME=VALUE)")
        )
    if d.needs:
        needs = [(alias, str(need)) for alias, need in d.needs.items()]
        parts.append(table(("alias", "needs"), needs, "reads"))
    if d.outputs:
        outputs = [(f"{d.name}.{c}", o.dtype, o.meaning) for c, o in d.outputs.items()]
        parts.append(table(("column", "type", "meaning"), outputs, "writes"))
    return "\n\n".join([*parts, *d.references])
