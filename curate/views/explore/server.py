"""The page's endpoints: static files, JSON queries and actions, and who may ask."""

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

from curate.errors import CurateError, DataError, StoreError
from curate.views.explore.actions import ACTIONS, act
from curate.views.explore.answers import ANSWERS, Answer
from curate.views.explore.session import Session

SCRIPTS: Final = (
    "app.js", "bulk.js", "charts.js", "elements.js", "example.js", "issues.js", "map.js",
    "markdown.js", "maths.js", "panels.js", "selecting.js", "state.js", "table.js",
)  # fmt: skip
ASSETS: Final[Mapping[str, str]] = {
    "page.html": "text/html",
    "style.css": "text/css",
    **dict.fromkeys(SCRIPTS, "text/javascript"),
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
    routes += [Route(f"/api/{name}", _acting(session, name), methods=["POST"]) for name in ACTIONS]
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


def _acting(session: Session, name: str) -> Callable[[Request], Awaitable[Response]]:
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
        return await run_in_threadpool(_or_error, lambda: act(session, name, body))

    return respond
