"""Requests to a server with the interface of OpenAI: retried, limited, and with a key that is never shown."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from threading import Event
from typing import Any, Final, TypeVar, final
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from curate.errors import ConfigError, ExampleFailure, ModelError
from curate.models.generation.addresses import KEY_VARIABLE

CONCURRENT: Final = 32  # requests under way at once
TRIES: Final = 5
PATIENCE_S: Final = 900.0  # that one request waits in all because the server says how long
LONGEST_WAIT_S: Final = 120.0  # of these at once
TIMEOUT_S: Final = 600.0
LOOK_S: Final = 10.0
LARGEST: Final = 1 << 26  # bytes that are read of a reply
SHOWN: Final = 160  # characters of a reply that errors quote

_TRANSIENT: Final = frozenset({408, 409, 425, 429, *range(500, 600)})
_OF_ONE_REQUEST: Final = frozenset(
    {400, 413, 422}
)  # what is wrong with one example is not with others

Job = TypeVar("Job")
T = TypeVar("T")


@final
class RefusedRequest(ExampleFailure):
    """The failure of one request: what the server says, and the parameter it names as the cause or ""."""

    def __init__(self, reason: str, words: str, param: str) -> None:
        super().__init__(reason)
        self.words, self.param = words, param


@final
@dataclass(frozen=True, slots=True)
class Endpoint:
    """A client of one model on one server, at its base address such as ``http://127.0.0.1:8000/v1``.

    Parameters
    ----------
    url, model
        The address, and the server's name for the model.
    key_variable
        The environment variable with the key, if there is one.
    needs_key
        Whether it is an error that the variable is not set.
    by_proxy
        Whether the proxies of the environment may be used; they cannot see local addresses.
    wait_s
        Wait before the second try of a request; doubled before each further try.
    timeout_s
        Without a byte from the server for so long, a request has failed.
    """

    url: str
    model: str
    key_variable: str = KEY_VARIABLE
    needs_key: bool = False
    by_proxy: bool = False
    wait_s: float = 1.0
    timeout_s: float = TIMEOUT_S

    def check_key(self) -> None:
        """Raise `ConfigError` for a key that is missing or cannot be sent; it is not shown."""
        self._key()

    def check(self) -> None:
        """Raise `ModelError` unless the server answers and, if it lists its models, has this one."""
        self.check_key()
        try:
            listed = self._send("models", None, LOOK_S)
        except HTTPError as error:
            if error.code in (401, 403) or 300 <= error.code < 400:
                raise self._refused(error) from None
            return  # it is there and lists no models
        except ValueError:
            return  # it is there, and whatever it says of its models is not JSON
        except (OSError, HTTPException) as error:
            raise ModelError(self._unreachable(error)) from error
        rows = listed.get("data", []) if isinstance(listed, Mapping) else []
        rows = rows if isinstance(rows, list) else []
        names = [str(row["id"]) for row in rows if isinstance(row, Mapping) and "id" in row]
        if names and self.model not in names:
            raise ModelError(
                f"the server at {self.url} has no model {self.model!r}; it serves: "
                f"{', '.join(names)}; pass one of them as served_model"
            )

    def post(self, path: str, body: Mapping[str, Any], stop: Event | None = None) -> Any:
        """Send a request until it is answered, up to `TRIES` times; return the JSON of the answer.

        Where the server says in Retry-After how long to wait, that is waited for instead, up to
        `LONGEST_WAIT_S` at once and `PATIENCE_S` in all.

        Raises `RefusedRequest` if the server refuses this request (status 400, 413 or 422), and
        `ModelError` when it cannot be reached, refuses in any other way, still fails after all tries,
        or does not answer in JSON.
        """
        self.check_key()
        tries, waited = 0, 0.0
        while True:
            tries += 1
            last = tries >= TRIES
            wait = self.wait_s * 2 ** (tries - 1)
            try:
                return self._send(path, body, self.timeout_s)
            except HTTPError as error:
                if error.code in _OF_ONE_REQUEST:
                    words, param = _explained(error)
                    said = self.quote(f"{error.code} {words}")
                    raise RefusedRequest(f"server_refused: {said}", words, param) from None
                if error.code not in _TRANSIENT:
                    raise self._refused(error) from None
                told = _retry_after(error)
                if told is not None and waited < PATIENCE_S:
                    wait, tries = min(told, LONGEST_WAIT_S), tries - 1
                    waited += max(wait, self.wait_s)
                elif last:
                    raise self._refused(error) from None
            except (OSError, HTTPException) as error:
                if last:
                    raise ModelError(self._unreachable(error)) from error
            except ValueError as error:
                if last:
                    raise ModelError(
                        f"the server at {self.url} does not answer in JSON: {error}; give the address "
                        "of its OpenAI-compatible interface, which usually ends in /v1"
                    ) from None
            if stop is None:
                time.sleep(wait)
            elif stop.wait(wait):
                raise ModelError(f"the requests to the server at {self.url} were stopped")

    def quote(self, value: Any) -> str:
        """Return the beginning of something a server said, on one line and without the key."""
        text = value if isinstance(value, str) else json.dumps(value)
        key = os.environ.get(self.key_variable, "").strip()
        text = text.replace(key, "[key]") if key else text
        return " ".join(text.split())[:SHOWN]

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        if self.needs_key and not key:
            raise ConfigError(
                f"the environment variable {self.key_variable} is not set, which should hold the key of "
                f"the server at {self.url}; type: export {self.key_variable}=KEY"
            )
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"the environment variable {self.key_variable} holds a line break or another character "
                "that no key has (it is not shown here); set it to the bare key"
            )
        return key

    def _send(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        """Return the JSON of an answer; `ValueError` that quotes it if it is none."""
        key = self._key()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body, ensure_ascii=True).encode()
        request = Request(f"{self.url.rstrip('/')}/{path}", data, headers)
        with _opener(by_proxy=self.by_proxy).open(request, timeout=timeout) as reply:
            text = reply.read(LARGEST)
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError(repr(self.quote(text.decode(errors="replace")))) from None

    def _unreachable(self, error: Exception) -> str:
        why = error.reason if isinstance(error, URLError) else error
        return (
            f"the server at {self.url} cannot be reached ({self.quote(str(why))}); start it, for "
            f"example: vllm serve {self.model} --port 8000, and run the same command again: what is "
            "finished is kept"
        )

    def _refused(self, error: HTTPError) -> ModelError:
        hint = {
            401: f"set the environment variable {self.key_variable} to its key",
            403: f"set the environment variable {self.key_variable} to its key",
            404: f"check the address, which usually ends in /v1, and that it serves {self.model!r}",
            405: "check the address, which usually ends in /v1",
        }.get(
            error.code, "look at its log, and run the same command again: what is finished is kept"
        )
        return ModelError(f"the server at {self.url} refuses requests: {self._said(error)}; {hint}")

    def _said(self, error: HTTPError) -> str:
        """Return the status and the server's explanation."""
        return self.quote(f"{error.code} {_explained(error)[0]}")


def _explained(error: HTTPError) -> tuple[str, str]:
    """Return what a server says of an error, and the parameter it names as the cause or ""."""
    text, param = "", None
    with suppress(OSError, HTTPException):
        text = error.read(LARGEST).decode(errors="replace")
    with suppress(ValueError, AttributeError):
        document = json.loads(text)
        document = document.get("error", document)
        text = str(document.get("message", text))
        param = document.get("param")
    return text or str(error.reason), param if isinstance(param, str) else ""


def ask_all(jobs: Sequence[Job], ask: Callable[[Job, Event], T]) -> list[T]:
    """Do `CONCURRENT` jobs at once; return their results in order, or raise the first error.

    After an error or an interrupt no other job begins, and what waits for a retry gives up.
    """
    stop = Event()
    with ThreadPoolExecutor(CONCURRENT) as threads:
        waiting = [threads.submit(ask, job, stop) for job in jobs]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _retry_after(error: HTTPError) -> float | None:
    """Return the seconds that a server asks to wait, or None if it does not say."""
    told = (error.headers.get("Retry-After") or "").strip()
    with suppress(ValueError):
        return max(0.0, float(told))
    with suppress(ValueError, TypeError):
        until = parsedate_to_datetime(told)
        return max(
            0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        )
    return None


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would take the prompts, and the key, to another address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener(*, by_proxy: bool) -> OpenerDirector:
    return build_opener(_NoRedirects) if by_proxy else build_opener(ProxyHandler({}), _NoRedirects)
