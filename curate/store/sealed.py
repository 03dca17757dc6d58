"""Parts that carry a checksum of every byte of theirs, footer included, to be known as whole later.

Checksums of pages cover values alone: a changed bit in the footer may rename a column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.parquet as pq

from curate.models.files import bytes_hash

SEAL: Final = b"curate:checksum"  # entry of the footer
UNSEALED: Final = b"unsealed" * 4  # its value while the file is hashed
CHANGED: Final = "it does not hold what was written"


@final
@dataclass(frozen=True, slots=True)
class DamagedPart:
    """A part that could not be committed, and why: it was cut off or changed, or is missing (empty)."""

    shard_id: str
    path: Path
    why: str

    def __str__(self) -> str:
        if not self.why:
            return f"part {self.path} is missing"
        return f"part {self.path} is damaged ({self.why}) and was removed"


@final
class PartDamageError(Exception):
    """A file does not hold what was written; ``why`` is empty if there is none."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def write_sealed(path: Path, table: pa.Table, options: Mapping[str, Any]) -> None:
    """Write a table as Parquet, with its checksum; ``options`` are those of the writer."""
    table = unsealed(table)
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({SEAL: UNSEALED})
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(data.rindex(UNSEALED))
        file.write(bytes_hash(data).encode())


def unsealed(table: pa.Table) -> pa.Table:
    """Return a table without the checksum of the file that it was read from."""
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != SEAL}
    return table.replace_schema_metadata(metadata)


def open_sealed(path: Path) -> pq.ParquetFile:
    """Open a part whose bytes are what was written; one without a checksum is read to see that.

    Raises `PartDamageError` for others.
    """
    return load_sealed(path)[0]


def load_sealed(path: Path) -> tuple[pq.ParquetFile, bytes]:
    """Open a part as `open_sealed` does; return its bytes too."""
    try:
        data = path.read_bytes()
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        stored = (file.metadata.metadata or {}).get(SEAL)
        if stored is None:
            file.read()
    except FileNotFoundError as error:
        raise PartDamageError("") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's: no permission, a broken disk
        raise PartDamageError(str(error)) from error
    if stored is not None and not _holds(data, stored):
        raise PartDamageError(CHANGED)
    return file, data


def _holds(data: bytes, stored: bytes) -> bool:
    at = data.rfind(stored)
    if at < 0 or len(stored) != len(UNSEALED):
        return False
    view = memoryview(data)
    return bytes_hash(view[:at], UNSEALED, view[at + len(stored) :]).encode() == stored
