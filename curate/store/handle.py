"""Where a store lies and how to open its file: all that the modules behind `Store` are given."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from curate.store import connection, gate, holds, schema
from curate.store.cache import cache_folder
from curate.store.objects import refuse_url_of_store

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

    Raises `ConfigError` for a path that is a URL.
    """

    def __init__(self, path: str | Path, wait_s: float) -> None:
        refuse_url_of_store(str(path))
        self.path = Path(path).absolute()
        self.parts = self.path.with_name(self.path.stem + ".parts")
        self.wait_s = wait_s
        self._writing = gate.writing(self.path)

    @property
    def is_read_only(self) -> bool:
        """Whether the store lies on media that cannot be written."""
        return connection.is_read_only(self.path)

    @property
    def cache(self) -> Path:
        """Folder for what can be computed again; in the user's for a store that is read-only."""
        if not self.is_read_only:
            return self.parts / "cache"
        name = hashlib.blake2b(str(self.path).encode(), digest_size=8).hexdigest()
        return cache_folder() / f"store-{name}"

    @property
    def spill(self) -> Path:
        """Folder for queries larger than memory."""
        return self.cache / "spill"

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Wait this long for other processes, instead of the usual time, while the block runs."""
        usual = self.wait_s
        self.wait_s = seconds
        try:
            yield
        finally:
            self.wait_s = usual

    def held(self) -> AbstractContextManager[None]:
        """Keep the file attached between the connections of a block (see `holds.held`)."""
        return holds.held(self.path)

    @contextmanager
    def connect(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open the file for one query; waits for other processes (see `connection.connect`)."""
        with connection.connect(self.path, self.spill, self.wait_s) as con:
            self._relocate(con)
            yield con

    @contextmanager
    def connect_to_read(self) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open the file for SQL that somebody typed (see `connection.connect_to_read`)."""
        with connection.connect_to_read(
            self.path, self.parts, self.spill, self.wait_s, self._relocate
        ) as con:
            yield con

    @contextmanager
    def write(self, *, settled: bool = True) -> "Iterator[duckdb.DuckDBPyConnection]":
        """Open the file for one transaction. No other process can open it meanwhile.

        Raises `StoreError` if the store is read-only.

        Parameters
        ----------
        settled
            Whether to `settle` the store first, for which every file that its relations name must be
            there.
        """
        if self.is_read_only:
            raise connection.cannot_write(self.path)
        with (
            self._writing,
            connection.connect(self.path, self.spill, self.wait_s) as con,
            connection.transaction(con),
        ):
            if settled:
                self.settle(con)
            yield con

    def settle(self, con: "duckdb.DuckDBPyConnection") -> None:
        """Rewrite the relations of a store that was moved, so that they name the files here."""
        if self._is_elsewhere(con):
            schema.refresh_views(con, self.parts)
            schema.set_meta(con, "parts", str(self.parts))
            schema.set_meta(con, "views", schema.VIEWS)

    def _relocate(self, con: "duckdb.DuckDBPyConnection") -> None:
        if self.parts.is_dir() and self._is_elsewhere(con):
            schema.relocate_views(con, self.parts)

    def _is_elsewhere(self, con: "duckdb.DuckDBPyConnection") -> bool:
        """Whether the stored relations name another place; asked once while the file is held."""
        if holds.is_in_place(self.path):
            return False
        is_elsewhere = schema.is_elsewhere(con, self.parts)
        if not is_elsewhere:
            holds.mark_in_place(self.path)
        return is_elsewhere
