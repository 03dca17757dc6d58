"""Objects below one URL: S3, Google Cloud Storage, a folder, whatever fsspec reaches.

An object appears whole or not at all, but no name can be taken first and none can be renamed: who needs
that writes under a name of its own and says so in a second, small object.
"""

import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, final
from urllib.parse import urlsplit

from curate.errors import ConfigError, MissingPackageError, StoreError
from curate.store.object_errors import endpoint_of, is_final, is_of_this_disk, why

T = TypeVar("T")

TRY_S: Final = 180.0  # no new try begins later than this after the first
PAUSES_S: Final = (0.2, 15.0)  # before the second try, and at most
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/:]")
_LOCAL: Final = ("file", "local")
_UNSEEN: Final = "."  # what begins with it is no object


def is_url(text: str) -> bool:
    """Return whether a text names something by a scheme, such as ``s3://bucket/prefix``.

    Examples
    --------
    >>> is_url("s3://bucket/a"), is_url("s3:/bucket/a"), is_url("/data/a"), is_url("C:/a")
    (True, True, False, False)
    """
    return _URL.match(text) is not None


def refuse_url_of_store(path: str) -> None:
    """Raise `ConfigError` for a store that is named by a URL: DuckDB's file needs a disk of its own."""
    if is_url(path):
        scheme = path.partition(":")[0]
        raise ConfigError(
            f"the store cannot lie at a URL ({scheme}:), because its file changes in place; give a local "
            "path with --store, and put shards and parts at the URL with --parts"
        )


@final
@dataclass(frozen=True, slots=True)
class Objects:
    """What lies below a URL, by key; small and picklable, it travels to workers.

    What fails in passing is tried again for three minutes, with growing pauses. Then, and at once for
    what no second try mends, `StoreError` names the key and the endpoint, never a credential.
    """

    url: str

    @classmethod
    def at(cls, place: str) -> "Objects":
        """Return the objects below a URL or a folder.

        Raises `ConfigError` for a URL with a password or a query, and for an unknown scheme, and
        `MissingPackageError` where the package for a scheme is not installed.
        """
        if not is_url(place):
            place = Path(place).expanduser().absolute().as_uri()
        parts = urlsplit(place)
        if "::" in place:
            raise ConfigError(
                f"--parts takes one URL, such as s3://bucket/prefix, not a chain of {parts.scheme}:: and others"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigError(
                f"--parts {parts.scheme}://... holds a user name, a password or a query, which would be "
                "in logs and records; give the bucket and a prefix alone, and credentials by the "
                "environment"
            )
        if not (parts.netloc + parts.path).strip("/"):
            raise ConfigError(
                f"--parts {place} names no bucket; give one with a prefix, such as "
                f"{parts.scheme}://bucket/prefix"
            )
        objects = cls(place.rstrip("/"))
        objects._open()
        return objects

    def __str__(self) -> str:
        return self.url

    def place(self, key: str) -> str:
        """Return the URL of a key."""
        return f"{self.url}/{key}"

    def read(self, key: str) -> bytes | None:
        """Return an object, or None where there is none."""
        try:
            data: bytes = self._tried("read", key, lambda files, path: files.cat_file(path))
        except FileNotFoundError:
            return None
        return data

    def write(self, key: str, data: bytes) -> None:
        """Write an object, in place of the one there may be."""
        self._written(key, lambda files, path: files.pipe_file(path, data))

    def put(self, key: str, source: Path) -> None:
        """Write an object from a file."""
        self._written(key, lambda files, path: files.put_file(str(source), path))

    def get(self, key: str, target: Path) -> bool:
        """Copy an object to a file; False where there is no object. The caller sees to it that it appears whole."""
        try:
            self._tried("read", key, lambda files, path: files.get_file(path, str(target)))
        except FileNotFoundError:
            return False
        return True

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of every object below a folder by its key; one request per 1,000."""

        def look(files: Any, path: str) -> Mapping[str, Any]:
            files.invalidate_cache()
            found: Mapping[str, Any] = files.find(path, detail=True)
            return found

        try:
            found = self._tried("list", folder, look)
        except FileNotFoundError:
            return {}
        root = self._open()[1].rstrip("/") + "/"
        return {
            path.partition(root)[2]: int(about["size"] or 0)
            for path, about in sorted(found.items())
            if root in path and not path.rpartition("/")[2].startswith(_UNSEEN)
        }

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone do not matter."""
        for key in keys:
            with suppress(FileNotFoundError):
                self._tried("remove", key, lambda files, path: files.rm_file(path))

    def _written(self, key: str, write: Callable[[Any, str], None]) -> None:
        is_local = urlsplit(self.url).scheme in _LOCAL
        try:
            self._tried("write", key, partial(_in_place, write) if is_local else write)
        except FileNotFoundError:
            raise StoreError(
                f"cannot write {self.place(key)}: there is no such bucket{_endpoint(self._open()[0])}; create it, "
                "or correct --parts"
            ) from None

    def _tried(self, verb: str, key: str, work: Callable[[Any, str], T]) -> T:
        """Do something with the file system and a key's path in it, again while that may help.

        `FileNotFoundError` is the caller's; every other error ends as `StoreError`.
        """
        began = time.monotonic()
        pause, longest = PAUSES_S
        n_tries = 0
        files: Any = None
        while True:
            n_tries += 1
            try:
                files, root = self._open()
                return work(files, f"{root.rstrip('/')}/{key}".rstrip("/"))
            except (ConfigError, FileNotFoundError):
                raise
            except Exception as error:
                if is_of_this_disk(error):
                    raise
                spent = time.monotonic() - began
                if is_final(error) or spent + pause > TRY_S:
                    tries = f" after {n_tries} tries in {spent:.0f} s" if n_tries > 1 else ""
                    raise StoreError(
                        f"cannot {verb} {self.place(key)}{tries}{_endpoint(files)}: {why(error)}; what is "
                        "finished is kept; run the same command again once it can be reached"
                    ) from None
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, longest)

    def _open(self) -> tuple[Any, str]:
        """Return fsspec's file system, which it keeps for each process, and the path in it."""
        import fsspec  # lazy: only what goes by way of a URL needs it
        from fsspec.registry import known_implementations  # lazy: the same

        scheme = urlsplit(self.url).scheme
        options = {"auto_mkdir": True} if scheme in _LOCAL else {}
        try:
            files, root = fsspec.url_to_fs(self.url, **options)
        except ImportError:
            package = known_implementations[scheme]["class"].partition(".")[0]
            if package == "fsspec":  # a part of fsspec that needs another package
                raise MissingPackageError(
                    f"--parts {scheme}://: {known_implementations[scheme].get('err', 'not installed')}"
                ) from None
            raise MissingPackageError(
                f"--parts {scheme}:// needs the package {package}, which is not installed; "
                f"type: pip install {package}"
            ) from None
        except ValueError as error:
            if scheme in known_implementations:
                raise ConfigError(f"--parts {self.url}: {why(error)}") from None
            raise ConfigError(
                f"--parts {self.url}: fsspec knows no scheme {scheme!r}; give s3://bucket/prefix, "
                "gs://, az:// or a folder that all machines see"
            ) from None
        return files, root


def _in_place(write: Callable[[Any, str], None], files: Any, path: str) -> None:
    """Write a file of a folder under a name that is not listed, then give it its own: whole, as objects are."""
    folder, _, name = path.rpartition("/")
    unseen = f"{folder}/{_UNSEEN}{name}.{secrets.token_hex(4)}"
    try:
        write(files, unseen)
        os.replace(unseen, path)
    finally:
        Path(unseen).unlink(missing_ok=True)


def _endpoint(files: Any) -> str:
    endpoint = "" if files is None else endpoint_of(files)
    return f" (endpoint {endpoint})" if endpoint else ""
