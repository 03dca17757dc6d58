"""The page of the documentation site on Python: signatures and docstrings of what `curate` exports."""

import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import curate
from curate.contracts.describe import parse_docstring, type_text
from jobs.pages.text import GENERATED, ROOT, markdown, table

PAGE: Final = ROOT / "docs" / "python.md"
_HEAD: Final = f"""{GENERATED}# Python API

`import curate` loads nothing heavy: each name is fetched at its first use. A pool has a method for each
command that reads, scores, selects, trains, proves, exports or reports. Its keywords are the command's flags
with `_` for `-` (`--set` is `settings`), and the same in a recipe. `pool.sql` and `to_polars` give polars
frames; objects show themselves in a notebook.

```python
import curate as cu

pool = cu.open("curate.duckdb")
chosen = pool.select("random", budget="5%", seed=7)
print(chosen.to_polars().head(3))
print(pool.sql("select source, count(*) as n from examples group by source order by n desc"))
```
"""
# What notebooks work with; the last four are reached through a pool and have no name in `curate`.
_IN_FULL: Final = (
    ("curate.api.pool", "Pool"),
    ("curate.api.selection", "StoredSelection"),
    ("curate.api.proof", "Proof"),
    ("curate.api.jobs.job", "Job"),
    ("curate.api.targets", "PoolTargets"),
    ("curate.views.notebook.rows", "Rows"),
    ("curate.views.notebook.plots", "PoolPlots"),
    ("curate.views.notebook.proof_plots", "ProofPlots"),
)


def api_page() -> tuple[Path, str]:
    """Return the page and its text."""
    shown = {name for _, name in _IN_FULL} | {"open", "__version__"}
    parts = [_HEAD, "## open\n", *_callable("curate.open", curate.open)]
    for module, name in _IN_FULL:
        parts += _class(getattr(import_module(module), name))
    errors, others = [], []
    for name in sorted(set(curate.__all__) - shown):
        value = getattr(curate, name)
        summary = _markdown(parse_docstring(inspect.getdoc(value) or "")[0])
        if isinstance(value, type) and issubclass(value, curate.CurateError):
            errors.append((f"`{name}`", str(value.exit_code), summary))
        elif inspect.isclass(value) or inspect.isfunction(value):
            others.append((f"`{name}`", summary))
    parts.append("## Errors\n")
    parts.append("All derive from `CurateError`, and from the builtin that Python users expect.\n")
    parts.append(table(("error", "exit code", "what it says"), errors) + "\n")
    parts.append("## For scorers and methods of your own\n")
    parts.append(
        "What selectors, scorers and procedures are made of. CONTRIBUTING.md shows one of each in full; "
        "they are found through entry points and checked by `curate.testing`.\n"
    )
    parts.append(table(("name", "what it is"), others) + "\n")
    return PAGE, "\n".join(parts)


def _class(cls: type) -> Iterator[str]:
    name = cls.__name__
    summary, details, sections = parse_docstring(inspect.getdoc(cls) or "")
    yield f"## {name}\n"
    yield f"{_markdown(summary)}\n"
    if details:
        yield f"{_markdown(details)}\n"
    if "Parameters" in sections:
        yield _parameters(cls, sections["Parameters"])
    for member, value in vars(cls).items():
        if member.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"### {name}.{member}\n"
            yield f"A property. {_markdown(_prose(value))}\n"
        elif isinstance(value, classmethod):
            yield from _callable(f"{name}.{member}", value.__func__, level=3)
        elif inspect.isfunction(value):
            yield from _callable(f"{name}.{member}", value, level=3)


def _callable(shown: str, function: Callable[..., Any], level: int = 0) -> Iterator[str]:
    if level:
        yield f"{'#' * level} {shown}\n"
    signature = inspect.signature(function)
    words = []
    before = None
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and before not in (
            parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL,
        ):  # fmt: skip
            words.append("*")
        before = parameter.kind
        words.append(_written(parameter))
    call = f"{shown.rpartition('.')[2]}({', '.join(words)})"
    yield "```text\n" + "\n".join(textwrap.wrap(call, 88, subsequent_indent="    ")) + "\n```\n"
    yield f"{_markdown(_prose(function))}\n"
    sections = parse_docstring(inspect.getdoc(function) or "")[2]
    if "Parameters" in sections:
        yield _parameters(function, sections["Parameters"])


def _written(parameter: inspect.Parameter) -> str:
    variadic = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
    stars = next((mark for kind, mark in variadic.items() if kind is parameter.kind), "")
    if parameter.default is inspect.Parameter.empty:
        return f"{stars}{parameter.name}"
    return f"{parameter.name}={_default(parameter.default)}"


def _default(value: Any) -> str:
    if isinstance(value, Mapping):
        return repr(dict(value))
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def _parameters(owner: Callable[..., Any], section: str) -> str:
    """Return the table of the documented parameters: name, type where it is known, meaning.

    What a docstring says after them, in lines that begin with no name, follows the table.
    """
    known = inspect.signature(owner).parameters
    rows: list[tuple[str, str, str]] = []
    after: list[str] = []
    for line in section.splitlines():
        if line.isidentifier():
            hint = known[line].annotation if line in known else inspect.Parameter.empty
            rows.append((f"`{line}`", _type(hint), ""))
        elif line[:1].isspace():
            name, kind, said = rows[-1]
            rows[-1] = (name, kind, f"{said} {line.strip()}".strip())
        elif line:
            after.append(line)
    described = [(name, kind, _markdown(said)) for name, kind, said in rows]
    text = table(("parameter", "type", "meaning"), described) + "\n"
    return f"{text}\n{_markdown(' '.join(after))}\n" if after else text


def _type(hint: Any) -> str:
    """Write a type as a user would; "" where there is none."""
    if hint is inspect.Parameter.empty:
        return ""
    if hint is Any:
        return "any"
    if isinstance(hint, str):
        return hint.strip("'\"")
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_type, get_args(hint))))
    if origin is Sequence:
        return f"list of {_type(*get_args(hint))}"
    is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
    return "mapping" if is_mapping else type_text(hint)


def _prose(value: object) -> str:
    """Return a docstring without its sections."""
    summary, details, _ = parse_docstring(inspect.getdoc(value) or "")
    return f"{summary}\n\n{details}" if details else summary


def _markdown(text: str) -> str:
    return markdown(text, methods="methods/", scorers="scorers.md", reports="../reports/")
