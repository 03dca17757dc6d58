"""One run at a time in a folder: two that train into it would mix their checkpoints."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from curate.errors import ConfigError, StoreError
from curate.store.locks import claimed


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Hold a folder for a run; of the processes of one run the first does it for all.

    The lock is a file beside the folder, which is removed afterwards. Yields whether it is held: on a
    file system without locks nothing is. Raises `ConfigError` where another process trains into the
    folder.
    """
    with ExitStack() as stack:
        is_held = False
        if os.environ.get("RANK", "0") == "0":
            with suppress(StoreError):
                lock = folder.with_name(f".{folder.name}.training")
                is_held = stack.enter_context(claimed(lock))
                if not is_held:
                    raise ConfigError(
                        f"another process trains into {folder}; wait until it is done, or give another "
                        "--output"
                    )
        yield is_held
