"""Where a store lies and how to open its file: all that the modules behind `Store` are given."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from curate.store import connection, gate

if TYPE_CHECKING:
    import duckdb


@final
class StoreHandle:
    """The DuckDB file of a store, the folder of parts beside it, and short connections to the file.

    Parameters
    ----------
    path
        The DuckDB file. The folder of parts has its name with the ending ``.parts``.
    wait_s
        Seconds to wait while another process holds the file.
    """

    def __init__(self, path: str | Path, wait_s: float) -> None:
        self.path = Path(path).absolute()
        self.parts = self.path.with_name(self.path.stem + ".parts")
        self.wait_s = wait_s
        self._writing = gate.writing(self.path)

    @property
    def spill(self) -> Path:
        """Folder for queries larger than memory."""
        return self.parts / "cache" / "spill"

    @contextmanager
    def connect(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open the file for one query; waits for other processes (see `connection.connect`)."""
        with connection.connect(self.path, self.spill, self.wait_s) as con:
            yield con

    @contextmanager
    def write(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open the file for one transaction. No other process can open it meanwhile."""
        with self._writing, self.connect() as con, connection.transaction(con):
            yield con
