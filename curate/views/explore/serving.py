"""Serves the page: a local port, a token, and a browser if there is one."""

import errno
import getpass
import os
import secrets
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from curate.errors import ConfigError, CurateError, MissingPackageError
from curate.select.marks import check_marker
from curate.views.explore.session import Session

ADDRESS: Final = "127.0.0.1"
WAIT_S: Final = 3.0  # for a job that holds the store; then the last snapshot answers


@final
@dataclass(frozen=True, slots=True)
class Served:
    """A page ready to serve: its address with the token, and its application."""

    url: str
    port: int
    n_examples: int
    marker: str
    listener: socket.socket
    application: Any

    def run(self) -> None:
        """Serve until interrupted."""
        import uvicorn

        config = uvicorn.Config(
            self.application, log_level="warning", access_log=False, lifespan="off",
            server_header=False,
        )  # fmt: skip
        try:
            uvicorn.Server(config).run(sockets=[self.listener])
        except KeyboardInterrupt:
            return
        finally:
            self.listener.close()


def prepare(store: Path, port: int, marker: str | None) -> Served:
    """Open the store, bind a port, and start reading the pool into memory.

    Parameters
    ----------
    port
        0 for any free one.
    marker
        Name under which marks are stored; the login name by default.

    Raises
    ------
    ConfigError
        The port is taken or invalid, or the marker's name cannot be part of an id.
    MissingPackageError
        The packages of the server are not installed.
    StoreError
        There is no store, or it is held by another process.
    """
    from curate.store import Store

    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise MissingPackageError(
            f"the explore page needs the package {error.name}; type: pip install 'curate-sft[explore]'"
        ) from error
    del starlette, uvicorn
    from curate.views.explore.server import application

    name = check_marker(marker if marker is not None else _login())
    opened = Store(store, create=False, wait_s=WAIT_S)
    listener = listen(port)
    taken = int(listener.getsockname()[1])
    session = Session(opened, name)
    # While the browser starts. Waited for at the end: in a thread that Python abandons there, the
    # engine would abort the process.
    threading.Thread(target=_warm, args=(session,)).start()
    token = secrets.token_urlsafe(24)
    return Served(
        f"http://{ADDRESS}:{taken}/?token={token}", taken, opened.n_examples(), name, listener,
        application(session, token, f"curate-explore-{taken}"),
    )  # fmt: skip


def _warm(session: Any) -> None:
    """Read the pool into memory; an error is left to the first query, which meets it again."""
    with suppress(CurateError):
        session.snapshot()


def listen(port: int) -> socket.socket:
    """Listen on a local port; `ConfigError` if that is not possible."""
    if not 0 <= port <= 65_535:
        raise ConfigError(f"--port must be 0 to 65535, got {port}; 0 uses any free port")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} is in use; give another, or leave --port out to use any free port"
            ) from error
        raise ConfigError(
            f"cannot listen on port {port}: {error.strerror}; leave --port out to use any free port"
        ) from error
    return listener


def open_browser(url: str) -> bool:
    """Open the page in the user's browser; return whether there is one."""
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    try:
        return has_screen and webbrowser.open(url)
    except webbrowser.Error:
        return False


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigError(
            "cannot tell your login name; give a name for your marks: --marker NAME"
        ) from error
