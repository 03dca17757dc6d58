"""The page's questions, as parameters of a request, and what answers them."""

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request

from curate.errors import ConfigError
from curate.views.explore import embedding_map, examples, issues, rows, selecting, summaries
from curate.views.explore.query import Query
from curate.views.explore.session import Session

Answer = Callable[[Session, Request], Any]


def _question(request: Request) -> Query:
    return Query.parse(request.query_params, request.query_params.getlist("range"))


def _rows(session: Session, request: Request) -> Any:
    given = request.query_params
    columns = [name for name in given.get("columns", "").split(",") if name]
    return rows.page(
        session, _question(request), columns, given.get("sort") or "id",
        given.get("order") == "desc", _whole(given.get("offset"), 0), _whole(given.get("limit"), 25),
    )  # fmt: skip


def _whole(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise ConfigError(f"a position in the table must be a whole number, got {text!r}")
    return int(text)


def _previews(session: Session, request: Request) -> Any:
    return rows.previews(
        session, [example_id for example_id in _given(request, "ids").split(",") if example_id]
    )


def _histogram(session: Session, request: Request) -> Any:
    return rows.histogram(session, _question(request), _given(request, "column"))


def _map(session: Session, request: Request) -> Any:
    given = request.query_params
    return embedding_map.embedding_map(
        session, _question(request), _given(request, "embedding"), given.get("colour", ""),
        given.get("box", ""),
    )  # fmt: skip


def _clusters(session: Session, request: Request) -> Any:
    given = request.query_params
    return summaries.clusters(
        session, _question(request), _given(request, "column"), given.get("sort", "")
    )


def _compare(session: Session, request: Request) -> Any:
    return summaries.comparison(session, _given(request, "a"), _given(request, "b"))


def _example(session: Session, request: Request) -> Any:
    whole = request.query_params.get("whole") == "1"
    return examples.example(session, _given(request, "id"), whole=whole)


def _responses(session: Session, request: Request) -> Any:
    whole = request.query_params.get("whole") == "1"
    return examples.responses(session, _given(request, "id"), whole=whole)


def _why_not(session: Session, request: Request) -> Any:
    return {"absent": examples.why_not(session, _given(request, "id"))}


def _issues(session: Session, request: Request) -> Any:
    del request
    return issues.pool_issues(session)


def _methods(session: Session, request: Request) -> Any:
    del session, request
    return {"methods": selecting.methods(), "formats": list(selecting.FORMATS)}


def _neighbours(session: Session, request: Request) -> Any:
    return examples.neighbours(session, _given(request, "id"), _given(request, "embedding"))


def _pool(session: Session, request: Request) -> Any:
    del request
    return summaries.pool(session)


def _meanings(session: Session, request: Request) -> Any:
    del request
    return summaries.meanings(session)


def _given(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if not value:
        raise ConfigError(f"{request.url.path} needs the parameter {name!r}")
    return value


ANSWERS: Final[dict[str, Answer]] = {
    "pool": _pool, "rows": _rows, "previews": _previews, "histogram": _histogram, "map": _map,
    "clusters": _clusters, "compare": _compare, "example": _example, "responses": _responses,
    "why-not": _why_not, "meanings": _meanings, "issues": _issues, "methods": _methods,
    "neighbours": _neighbours,
}  # fmt: skip
