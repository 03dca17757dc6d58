"""One run at a time in a folder: two that train into it would mix their checkpoints."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from curate.errors import ConfigError, StoreError
from curate.store.locks import claimed


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for a run; of the processes of one run the first does it for all.

    The lock is a file beside the folder, which is removed afterwards. On a file system without locks
    nothing is held. Raises `ConfigError` where another process trains into the folder.
    """
    with ExitStack() as stack:
        if os.environ.get("RANK", "0") == "0":
            try:
                is_ours = stack.enter_context(claimed(folder.with_name(f".{folder.name}.training")))
            except StoreError:
                is_ours = True
            if not is_ours:
                raise ConfigError(
                    f"another process trains into {folder}; wait until it is done, or give another "
                    "--output"
                )
        yield
