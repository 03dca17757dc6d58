"""Answers from a local server with the completions interface of OpenAI, such as vLLM or llama.cpp."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from socket import AI_NUMERICHOST, gaierror, getaddrinfo
from typing import Any, Final, final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from curate.errors import ConfigError, ExampleFailure, ModelError

KEY_VARIABLE: Final = "CURATE_SERVER_KEY"
CONCURRENT: Final = 32  # requests under way at once
TRIES: Final = 5
SYSTEMATIC: Final = 16  # so many refusals without an answer are the server's, not the examples'
TIMEOUT_S: Final = 600.0
LOOK_S: Final = 10.0
SHOWN: Final = 160  # characters of a reply that errors quote

_LOCAL_ENDINGS: Final = (".local", ".internal", ".lan", ".localhost")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")  # IPv4 addresses in their last 32 bits
_TRANSIENT: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_OWN_DISTRIBUTION: Final[Mapping[str, Any]] = {  # whatever the server's defaults cut off or penalise
    "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1, "repeat_penalty": 1,
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """One requested answer: messages, or a text to continue, and the seed to draw it with.

    ``template_args`` are passed on to the server's chat template.
    """

    prompt: "str | Sequence[Mapping[str, Any]]"
    seed: int
    tools: Sequence[Mapping[str, Any]] | None = None
    template_args: Mapping[str, Any] | None = None


@final
@dataclass(frozen=True, slots=True)
class Replied:
    """An answer: its text, its tokens (0 if the server does not count), and whether it ended."""

    text: str
    n_tokens: int
    n_prompt_tokens: int
    ended: bool


@final
@dataclass(frozen=True, slots=True)
class CompletionServer:
    """A client of one model on one server. A key, if needed, is read from ``CURATE_SERVER_KEY``.

    Parameters
    ----------
    url
        Address including the interface's base path, as in ``http://127.0.0.1:8000/v1``.
    model
        The server's name for it.
    max_new_tokens, temperature
        Of every answer.
    wait_s
        Wait before the second try of a request; doubled before each further try.
    """

    url: str
    model: str
    max_new_tokens: int
    temperature: float
    wait_s: float = 1.0

    def check(self) -> None:
        """Raise `ModelError` unless the server answers and, if it lists its models, has this one."""
        try:
            listed = self._send("models", None, LOOK_S)
        except HTTPError as error:
            if error.code in (401, 403) or 300 <= error.code < 400:
                raise self._refused(error) from error
            return  # it is there and lists no models
        except (OSError, HTTPException) as error:
            raise ModelError(self._unreachable(error)) from error
        rows = listed.get("data", []) if isinstance(listed, Mapping) else []
        names = [str(row["id"]) for row in rows if isinstance(row, Mapping) and "id" in row]
        if names and self.model not in names:
            raise ModelError(
                f"the server at {self.url} has no model {self.model!r}; it serves: "
                f"{', '.join(names)}; pass one of them as served_model"
            )

    def answers(self, asked: Sequence[Asked]) -> list[Replied | ExampleFailure]:
        """Return the answer to each request, in order; a failure if the server refuses one.

        Raises `ModelError` when the server can no longer be reached, answers with something
        other than a completion, or refuses all of `SYSTEMATIC` requests or more.
        """
        with ThreadPoolExecutor(CONCURRENT) as threads:
            waiting = [threads.submit(self._answer, request) for request in asked]
            try:
                replies = [future.result() for future in waiting]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        refused = [reply for reply in replies if isinstance(reply, ExampleFailure)]
        if len(refused) == len(replies) >= SYSTEMATIC:
            raise ModelError(
                f"the server at {self.url} refuses every one of {len(replies)} requests: "
                f"{refused[0].reason}; look at its log and its options (such as --max-model-len), and "
                "run the same command again"
            )
        return replies

    def _answer(self, asked: Asked) -> Replied | ExampleFailure:
        chat = not isinstance(asked.prompt, str)
        body = {
            "model": self.model,
            "messages" if chat else "prompt": asked.prompt,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": asked.seed,
            "n": 1,
            "stream": False,
            **_OWN_DISTRIBUTION,
        }
        if asked.tools:
            body["tools"] = [dict(tool) for tool in asked.tools]
        if asked.template_args:
            body["chat_template_kwargs"] = dict(asked.template_args)
        try:
            reply = self._persistently("chat/completions" if chat else "completions", body)
        except ExampleFailure as failure:
            return failure
        return self._read(reply)

    def _persistently(self, path: str, body: Mapping[str, Any]) -> Any:
        """Retry a request until it is answered, up to `TRIES` times."""
        for number in range(TRIES):
            last = number + 1 == TRIES
            try:
                return self._send(path, body, TIMEOUT_S)
            except HTTPError as error:
                if error.code in (401, 403, 404, 405) or 300 <= error.code < 400:
                    raise self._refused(error) from error
                if error.code not in _TRANSIENT:
                    raise ExampleFailure(f"server_refused: {_said(error)}") from error
                if last:
                    raise self._refused(error) from error
            except (OSError, HTTPException) as error:
                if last:
                    raise ModelError(self._unreachable(error)) from error
            time.sleep(self.wait_s * 2**number)
        raise AssertionError("unreachable")

    def _send(self, path: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body, ensure_ascii=True).encode()
        request = Request(f"{self.url.rstrip('/')}/{path}", data, headers)
        with _opener().open(request, timeout=timeout) as reply:
            text = reply.read()
        try:
            return json.loads(text)
        except ValueError as error:
            raise ModelError(
                f"the server at {self.url} does not answer in JSON: "
                f"{text[:SHOWN].decode(errors='replace')!r}; give the address of its "
                "OpenAI-compatible interface, which usually ends in /v1"
            ) from error

    def _read(self, reply: Any) -> Replied:
        try:
            choice = reply["choices"][0]
            said = choice["message"]["content"] if "message" in choice else choice["text"]
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"the server at {self.url} answered without choices: "
                f"{json.dumps(reply)[:SHOWN]}; it does not speak the completions interface of OpenAI"
            ) from error
        usage = reply.get("usage") or {}
        return Replied(
            said or "",
            n_tokens=int(usage.get("completion_tokens") or 0),
            n_prompt_tokens=int(usage.get("prompt_tokens") or 0),
            ended=choice.get("finish_reason") != "length",
        )

    def _unreachable(self, error: Exception) -> str:
        why = error.reason if isinstance(error, URLError) else error
        return (
            f"the server at {self.url} cannot be reached ({why}); start it, for example: "
            f"vllm serve {self.model} --port 8000, and run the same command again: what is finished "
            "is kept"
        )

    def _refused(self, error: HTTPError) -> ModelError:
        hint = {
            401: f"set the environment variable {KEY_VARIABLE} to its key",
            403: f"set the environment variable {KEY_VARIABLE} to its key",
            404: f"check the address, which usually ends in /v1, and that it serves {self.model!r}",
            405: "check the address, which usually ends in /v1",
        }.get(
            error.code, "look at its log, and run the same command again: what is finished is kept"
        )
        return ModelError(f"the server at {self.url} refuses requests: {_said(error)}; {hint}")


def check_address(field: str, url: str, model: str) -> None:
    """Raise `ConfigError` unless an address is complete, local, and comes with a model's name.

    Prompts of the pool are sent there, so an address that is not of this machine or its private
    network is refused.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # such as an IPv6 address without its closing bracket
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConfigError(
            f"{field}={url!r} is not an address; give one such as http://127.0.0.1:8000/v1"
        )
    if parts.username or parts.query:
        raise ConfigError(
            f"{field} holds a user name or a query, which would be stored with the scores; give the "
            f"bare address, and a key in the environment variable {KEY_VARIABLE}"
        )
    if not _is_local(host):
        raise ConfigError(
            f"{field}={url!r} is not on this machine or its private network, and the pool's prompts "
            "would leave it; serve the model locally, or forward a port: "
            f"ssh -L 8000:localhost:8000 {host}, and {field}=http://127.0.0.1:8000/v1"
        )
    if not model:
        raise ConfigError(
            f"{field} needs the name of the model it serves; add --set "
            f"{field.rpartition('.')[0]}.served_model=NAME (curl {url.rstrip('/')}/models lists them)"
        )


def _is_local(host: str) -> bool:
    """Whether a host is of this machine or its network, as what connects to it will read it.

    A number in any notation (decimal, hexadecimal, octal, shortened) is an address, and so is an
    IPv4 address inside one of IPv6.
    """
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
        addresses = getaddrinfo(host, None, flags=AI_NUMERICHOST)
    except UnicodeError:
        return False
    except gaierror:  # a name
        return "." not in host or host.endswith(_LOCAL_ENDINGS)
    return all(_is_local_address(ip_address(address[4][0])) for address in addresses)


def _is_local_address(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            within = IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return _is_local_address(within)
        if address.teredo is not None:
            return False
    return address.is_private or address.is_loopback or address.is_link_local


def _said(error: HTTPError) -> str:
    """Return the status and the server's explanation, on one line."""
    text = ""
    with suppress(OSError, HTTPException):
        text = error.read().decode(errors="replace")
    with suppress(ValueError, AttributeError):
        document = json.loads(text)
        text = str(document.get("error", document).get("message", text))
    return " ".join(f"{error.code} {text or error.reason}".split())[:SHOWN]


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would take the prompts, and the key, to another address."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener() -> OpenerDirector:
    return build_opener(ProxyHandler({}), _NoRedirects)  # a proxy cannot see local addresses
