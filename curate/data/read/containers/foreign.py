"""What a file is that is not what its name says: told by its first bytes."""

from pathlib import Path
from typing import Final

from curate.data.read.containers.text_readers import open_bytes
from curate.errors import DataError

N_BYTES: Final = 1 << 12
_MAGIC: Final = (
    (b"\x1f\x8b", "compressed by gzip", "{name}.gz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "{name}.zst"),
    (b"PAR1", "a Parquet file", "{stem}.parquet"),
    (b"ARROW1", "an Arrow file", "{stem}.arrow"),
)
_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_PAGES: Final = (b"<!doctype html", b"<html")


def refuse_foreign(path: Path, compression: str) -> None:
    """Raise `DataError` for a file that is no text of rows, and say what it is."""
    with open_bytes(path, compression) as stream:
        words = foreign(path, stream.read(N_BYTES))
    if words:
        raise DataError(words)


def foreign(path: Path, start: bytes, own: bytes = b"") -> str:
    """Return in words what a file is and what to do about it, "" if its first `N_BYTES`, ``start``, do not tell.

    ``own`` are the first bytes of what its name says, empty for text.
    """
    for magic, what, new in _MAGIC:
        if start.startswith(magic) and magic != own:
            name = new.format(name=path.name, stem=path.stem)
            return f"{path} is {what}, which its name does not say; rename it to {name}"
    if not own and b"\0" in start[:2] and start[:1] + start[1:2] != b"\0\0":
        form = "UTF-16LE" if start[1:2] == b"\0" else "UTF-16BE"
        return (
            f"{path} is UTF-16 text, not UTF-8; convert it: "
            f"iconv -f {form} -t UTF-8 {path.name} > utf8-{path.name}"
        )
    if start.startswith(b"PK\x03\x04"):
        return f"{path} is a zip archive; unpack it, and give what is in it"
    if start.startswith(_POINTER):
        return f"{path} is a pointer of Git LFS, not the data; fetch the data: git lfs pull"
    if start.lstrip().lower().startswith(_PAGES):
        return f"{path} is a web page, not data; download the data again"
    return ""
