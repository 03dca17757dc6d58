"""What a registered class says about itself: kind, docstring in parts, fields and needs."""

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias, cast, final

from curate.contracts import (
    BatchPolicy,
    Column,
    Expression,
    Mixture,
    Need,
    Objective,
    Procedure,
    Scorer,
    Selector,
)
from curate.contracts.json_values import json_tree
from curate.errors import ConfigError

Kind = Literal["scorer", "selector", "procedure", "objective", "policy", "mixture"]
Registrable: TypeAlias = (
    type[Scorer]
    | type[Selector]
    | type[Procedure]
    | type[Objective]
    | type[BatchPolicy]
    | type[Mixture]
)

_SECTION: Final = re.compile(r"^(\w[\w ]*)\n-{3,}\s*$", re.MULTILINE)
_CITATION: Final = re.compile(r"^\.\. \[\d+\]\s*", re.MULTILINE)


@final
@dataclass(frozen=True, slots=True)
class FieldDescription:
    """One hyperparameter: name, type as written, default (None if required), one line of text."""

    name: str
    type: str
    default: Any
    required: bool
    doc: str


@final
@dataclass(frozen=True, slots=True)
class Description:
    """Everything the command line, the report and the generated tables say about one class.

    Parameters
    ----------
    kind, name, module
        What it is, what users call it, and where it is defined.
    summary
        First line of the docstring.
    details
        The paragraphs between the summary and the first section.
    references
        One citation per entry, as in the docstring's References section.
    fields
        Its hyperparameters, in order.
    needs
        By alias: the scorer it reads, or the expression; None if that depends on a required field.
    outputs
        Columns of a scorer, with their meaning.
    experimental
        Why the method should not be trusted yet, or "".
    budget_optional
        Whether it has a natural size when no budget is given.
    purpose
        What a method is for, the heading it is listed under; "" for all else.
    aliases
        Further names of a method.
    """

    kind: Kind
    name: str
    module: str
    summary: str
    details: str
    references: tuple[str, ...]
    fields: tuple[FieldDescription, ...]
    needs: Mapping[str, Need | Expression] | None
    outputs: Mapping[str, Column]
    experimental: str = ""
    budget_optional: bool = False
    purpose: str = ""
    aliases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain dicts, lists and strings."""
        document = asdict(self)
        document["outputs"] = {name: asdict(column) for name, column in self.outputs.items()}
        document["needs"] = (
            None if self.needs is None else {a: asdict(need) for a, need in self.needs.items()}
        )
        for entry in document["fields"]:
            entry["default"] = json_tree(entry["default"], _json_scalar)
        return document


def kind_of(cls: type) -> Kind:
    """Return which kind a class is; raise `ConfigError` if none."""
    kinds: tuple[tuple[type, Kind], ...] = (
        (Scorer, "scorer"),
        (Selector, "selector"),
        (Procedure, "procedure"),
        (Objective, "objective"),
        (BatchPolicy, "policy"),
        (Mixture, "mixture"),
    )
    for base, kind in kinds:
        if isinstance(cls, type) and issubclass(cls, base):
            return kind
    raise ConfigError(
        f"{getattr(cls, '__qualname__', cls)!r} is not a scorer, selector, procedure, "
        "objective, policy or mixture; derive it from one of the classes in curate.contracts"
    )


def describe(cls: Registrable) -> Description:
    """Describe a registered class from its docstring, its dataclass fields and its declarations.

    Raises `ConfigError` if the class is of no kind.
    """
    kind = kind_of(cls)
    summary, details, sections = parse_docstring(cls.__doc__ or "")
    documented = _parameters(sections.get("Parameters", ""))
    return Description(
        kind=kind,
        name=cls.name,
        module=cls.__module__,
        summary=summary,
        details=details,
        references=tuple(
            " ".join(text.split())
            for text in _CITATION.split(sections.get("References", ""))
            if text.strip()
        ),
        fields=describe_fields(cls, documented),
        needs=_needs(cls),
        outputs=dict(getattr(cls, "outputs", {})),
        experimental=getattr(cls, "experimental", ""),
        budget_optional=getattr(cls, "budget_optional", False),
        purpose=getattr(cls, "purpose", ""),
        aliases=tuple(getattr(cls, "aliases", ())),
    )


def describe_fields(
    cls: type, documented: Mapping[str, str] | None = None
) -> tuple[FieldDescription, ...]:
    """List the hyperparameters of a dataclass with types, defaults and documentation."""
    if documented is None:
        documented = _parameters(parse_docstring(cls.__doc__ or "")[2].get("Parameters", ""))
    hints = typing.get_type_hints(cls)
    return tuple(
        FieldDescription(
            name=item.name,
            type=type_text(hints[item.name]),
            default=_default(item),
            required=is_required(item),
            doc=documented.get(item.name, ""),
        )
        for item in fields(cls)
        if item.init
    )


def is_required(item: "Field[Any]") -> bool:
    """Whether a dataclass field has neither a default nor a default factory."""
    return item.default is MISSING and item.default_factory is MISSING


def type_text(hint: Any) -> str:
    """Write a field's type as a user would: ``low | mid | high``, ``integer or none``."""
    names = {bool: "true | false", int: "integer", float: "number", str: "text", type(None): "none"}
    if hint in names:
        return names[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list of {type_text(arguments[0])}"
    if origin is tuple:
        return ", ".join(type_text(argument) for argument in arguments)
    if arguments and all(isinstance(a, type) or typing.get_origin(a) for a in arguments):
        return " or ".join(type_text(argument) for argument in arguments)
    return getattr(hint, "__name__", str(hint))


def parse_docstring(text: str) -> tuple[str, str, dict[str, str]]:
    """Split a numpydoc docstring into its summary, its details and its sections by title."""
    parts = _SECTION.split(inspect.cleandoc(text))
    summary, _, details = parts[0].strip().partition("\n\n")
    bodies = dict(zip(parts[1::2], (body.strip("\n") for body in parts[2::2]), strict=True))
    return " ".join(summary.split()), details.strip(), bodies


def _parameters(section: str) -> dict[str, str]:
    documented: dict[str, list[str]] = {}
    current: list[str] = []
    for line in section.splitlines():
        if line and not line[0].isspace():
            current = []
            documented |= {name.split(":")[0].strip(): current for name in line.split(",")}
        elif line.strip():
            current.append(line.strip())
    return {name: " ".join(lines) for name, lines in documented.items()}


def _needs(cls: Registrable) -> Mapping[str, Need | Expression] | None:
    requires = getattr(cls, "requires", None)
    if requires is None:
        return {}
    if any(is_required(item) for item in fields(cast(Any, cls))):
        return None
    return dict(requires(cls()))


def _default(item: "Field[Any]") -> Any:
    if item.default is not MISSING:
        return item.default
    return None if item.default_factory is MISSING else item.default_factory()


def _json_scalar(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
