"""A store of an earlier schema that is opened, and the process that does so killed at some step."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def open_and_die(path: Path, step: int) -> None:
    """Open a store by a version whose schema is one later; end as by kill -9 before a step of it."""
    from curate.store import Store, schema
    from curate.store.upkeep import rebuild

    schema.SCHEMA_VERSION += 1  # type: ignore[misc]
    count = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return function(*args, **kwargs)

        return call

    for module, name in (
        (os, "link"), (os, "replace"), (schema, "refresh_views"), (rebuild, "sync"),
        (rebuild, "build_file"), (rebuild, "open_store"),
    ):  # fmt: skip
        setattr(module, name, counted(getattr(module, name)))
    Store(path)
