"""Errors of object storage: which of them a second try may mend, and what of them may be shown."""

import errno
import os
import re
from typing import Any, Final
from urllib.parse import urlsplit

_FINAL: Final = (
    FileExistsError, ImportError, IsADirectoryError, NotADirectoryError, NotImplementedError,
    PermissionError, TypeError, ValueError,
)  # fmt: skip
# Of packages that need not be installed: no credentials, or settings that cannot be used.
_FINAL_NAMES: Final = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ParamValidationError",
    "ProfileNotFound", "NoRegionError", "DefaultCredentialsError",
})  # fmt: skip
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_SECRET: Final = re.compile(
    r"key|secret|token|passw|credential|signature|connection_string", re.IGNORECASE
)
_SHORTEST_SECRET: Final = 6  # characters; shorter values would take words out of every message
_QUERY: Final = re.compile(r"(://[^\s?]*)\?\S*")
_USER: Final = re.compile(r"://[^/\s@]*@")
_LONGEST: Final = 300


def is_of_this_disk(error: BaseException) -> bool:
    """Return whether an error is of this machine's disk, where a copy is written: full, read-only."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    return isinstance(error, OSError) and error.errno in numbers


def is_final(error: BaseException) -> bool:
    """Return whether trying again would be of no use; what is not known to be final may pass."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, _FINAL) or bool(names & _FINAL_NAMES)


def why(error: BaseException) -> str:
    """Return the first line of an error without anything secret in it."""
    first = (str(error).strip() or "no reason given").splitlines()[0]
    return f"{type(error).__name__}: {without_secrets(first)}"[:_LONGEST]


def without_secrets(text: str) -> str:
    """Return a text without users and queries of URLs, and without the values of secret settings.

    Secret are the values of environment variables and of fsspec's configuration whose names say so.
    """
    text = _USER.sub("://", _QUERY.sub(r"\1", text))
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def endpoint_of(files: Any) -> str:
    """Return the endpoint that fsspec's file system talks to, as it is set; "" for the default."""
    if "s3" not in _protocols(files):
        return ""
    given = getattr(files, "client_kwargs", None) or {}
    settings = [os.environ.get(name) for name in _ENDPOINTS]
    named = [getattr(files, "endpoint_url", None), given.get("endpoint_url"), *settings]
    endpoint = next((str(value) for value in named if value), "")
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if endpoint else ""


def _protocols(files: Any) -> tuple[str, ...]:
    protocol = files.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _secrets() -> set[str]:
    from fsspec.config import conf  # lazy: only what goes by way of a URL needs it

    found = {value for name, value in os.environ.items() if _SECRET.search(name)}
    pending: list[Any] = [conf]
    while pending:
        for name, value in pending.pop().items():
            if isinstance(value, dict):
                pending.append(value)
            elif isinstance(value, str) and _SECRET.search(str(name)):
                found.add(value)
    return {value for value in found if len(value) >= _SHORTEST_SECRET}
