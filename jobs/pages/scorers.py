"""The page of the documentation site that lists every scorer with its columns."""

from pathlib import Path
from typing import Any, Final, cast

from curate import registry
from curate.contracts import Need
from curate.contracts.settings import spell_value
from jobs.pages.text import GENERATED, ROOT, markdown, table

PAGE: Final = ROOT / "docs" / "scorers.md"


def scorers_page() -> tuple[Path, str]:
    """Return the page and its text."""
    parts = [
        f"{GENERATED}# Scorers\n",
        (
            "A scorer adds columns to the pool. `curate score --scorer NAME` runs it, methods run what "
            "they need by themselves, and every column below can stand in `--where` and `--rank` as "
            "`name.column`. Fields are set with `--set NAME.FIELD=VALUE`; `curate methods NAME` shows "
            "each with its meaning.\n"
        ),
    ]
    for name in registry.names("scorer"):
        about = registry.describe(registry.get_scorer(name))
        role = cast(Any, registry.get_scorer(name)).role
        summary = markdown(about.summary, methods="methods/", scorers="", reports="../reports/")
        model = f"Runs the {role} model." if role else "Runs no model of its own."
        needs = [need.scorer for need in (about.needs or {}).values() if isinstance(need, Need)]
        if needs:
            model += f" Reads {', '.join(f'[`{n}`](#{n})' for n in needs if n)}."
        rows = [
            (f"`{name}.{column}`", output.dtype,
             markdown(output.meaning, methods="methods/", scorers="", reports="../reports/"))
            for column, output in about.outputs.items()
        ]  # fmt: skip
        fields = ", ".join(
            f"`{f.name}`" if f.required else f"`{f.name}={spell_value(f.default)}`"
            for f in about.fields
        )
        parts.append(f"## {name}\n\n{summary} {model}\n")
        parts.append(f"{table(('column', 'type', 'meaning'), rows)}\n")
        if fields:
            parts.append(f"Fields: {fields}.\n")
    return PAGE, "\n".join(parts)
