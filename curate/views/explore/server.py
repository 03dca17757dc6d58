"""The page's endpoints: static files, JSON queries, and marking."""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final, final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curate.errors import ConfigError, CurateError, DataError, StoreError
from curate.select.marks import MARKS, mark_examples
from curate.views.explore import embedding_map, examples, rows, summaries
from curate.views.explore.query import Query
from curate.views.explore.session import Session

ASSETS: Final[Mapping[str, str]] = {
    "page.html": "text/html",
    "style.css": "text/css",
    "app.js": "text/javascript",
    "charts.js": "text/javascript",
    "example.js": "text/javascript",
    "panels.js": "text/javascript",
    "elements.js": "text/javascript",
}
HOSTS: Final = frozenset(("127.0.0.1", "localhost"))
MOST_BYTES: Final = 100_000  # of what is posted
_HEADERS: Final[Mapping[str, str]] = {
    # Nothing but our own files runs or is fetched, and no text can become markup.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_FORBIDDEN: Final = (
    "This page needs the full address that curate explore printed, including the token.\n"
)
_STATUS: Final = ((StoreError, 503), (DataError, 404), (CurateError, 400))

Answer = Callable[[Session, Request], Any]


def application(session: Session, token: str, cookie: str = "curate-explore") -> ASGIApp:
    """Return the application; without the token it answers nothing.

    Parameters
    ----------
    token
        Given once as ``?token=``, after which the browser keeps it in ``cookie``; programs send
        it as ``Authorization: Bearer``.
    """
    routes = [Route("/", _asset("page.html"))]
    routes += [Route(f"/{name}", _asset(name)) for name in ASSETS if name != "page.html"]
    routes += [
        Route(f"/api/{name}", _answering(session, answer)) for name, answer in ANSWERS.items()
    ]
    routes.append(Route("/api/mark", _marking(session), methods=["POST"]))
    return _Guard(Starlette(routes=routes), token, cookie)


@final
class _Guard:
    """Admits only requests with the token and addressed to this machine by name."""

    def __init__(self, inner: ASGIApp, token: str, cookie: str) -> None:
        self._inner, self._token, self._cookie = inner, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = dict(_HEADERS)
                if self._is_token(request.query_params.get("token")):
                    added["set-cookie"] = (
                        f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                    )
                message["headers"] = [
                    *message["headers"], *((k.encode(), v.encode()) for k, v in added.items())
                ]  # fmt: skip
            await send(message)

        inner = self._inner
        if (refusal := self._refusal(request)) is not None:
            inner = PlainTextResponse(refusal, 403)
        await inner(scope, receive, with_headers)

    def _refusal(self, request: Request) -> str | None:
        # A foreign name in Host is a page elsewhere that had its name resolved to this machine.
        if _host(request.headers.get("host", "")) not in HOSTS:
            return "This page is served only at 127.0.0.1 and localhost.\n"
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers["host"]:
            return "This page accepts requests only from itself.\n"
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = [request.query_params.get("token"), request.cookies.get(self._cookie)]
        given.append(bearer if kind.lower() == "bearer" else None)
        return None if any(map(self._is_token, given)) else _FORBIDDEN

    def _is_token(self, given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), self._token.encode())


def _host(header: str) -> str:
    return header.rpartition(":")[0] if ":" in header else header


def _asset(name: str) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        del request
        content = (files("curate.views.explore") / "assets" / name).read_bytes()
        return Response(content, media_type=ASSETS[name])

    return serve


def _json(document: Any, status: int = 200) -> Response:
    # ASCII only: a lone surrogate of an example is then an escape that any browser can read.
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("ascii"), status, media_type="application/json")


def _answering(session: Session, answer: Answer) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        return _or_error(lambda: answer(session, request))

    return respond


def _or_error(answer: Callable[[], Any]) -> Response:
    try:
        return _json(answer())
    except CurateError as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return _json({"error": str(error), "kind": type(error).__name__}, status)


def _marking(session: Session) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _json(
                {"error": "send JSON, with content type application/json", "kind": "ConfigError"},
                415,
            )
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return _json({"error": "the request is too large", "kind": "ConfigError"}, 413)
        return await run_in_threadpool(_or_error, lambda: _mark(session, body))

    return respond


def _mark(session: Session, body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
        ids, mark = asked["ids"], asked["mark"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(
            'a mark must be JSON such as {"ids": ["..."], "mark": "in"}; "mark" is in, out or null'
        ) from error
    if not isinstance(ids, list) or not ids or not all(map(_is_text, ids)):
        raise ConfigError(f"ids must be a list of example ids, got {ids!r}")
    if mark is not None and mark not in MARKS:
        raise ConfigError(f"mark must be in, out or null, got {mark!r}")
    counts = mark_examples(session.store, session.marker, ids, mark)
    session.forget_stored()
    return {"marks": counts}


def _is_text(given: object) -> bool:
    """Whether this is a text that can be stored: one without half of a surrogate pair."""
    return isinstance(given, str) and given.isprintable()


# Questions ---------------------------------------------------------------------------------------


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
    "why-not": _why_not, "meanings": _meanings,
}  # fmt: skip
