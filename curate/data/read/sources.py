"""What a DATA argument names: files, a glob, a folder, a saved dataset, or one on the hub."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal, cast, final

from curate.data.read.containers.arrow_readers import disk_files
from curate.errors import DataError
from curate.models.files import file_hash

Container = Literal["jsonl", "json", "csv", "parquet", "arrow", "disk", "hub"]

EXTENSIONS: Final[dict[str, Container]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".ipc": "arrow", ".feather": "arrow",
}  # fmt: skip
COMPRESSIONS: Final = {".gz": "gz", ".zst": "zst"}
KNOWN: Final = "write .jsonl, .json, .csv, .parquet or .arrow, each also with .gz or .zst"
_HUB_ID: Final = re.compile(
    r"^(?P<id>[\w-][\w.-]*/[\w.-]+?)(?::(?P<config>[\w.+-]+))?(?:@(?P<revision>[\w./-]+))?$"
)
_SPLITS: Final = "train|test|validation|valid|val|dev|eval"
_SPLIT_NAME: Final = re.compile(rf"^({_SPLITS})(?=$|[-_.])")
_SPLIT_WITHIN: Final = re.compile(rf"(?:^|[-_. ])({_SPLITS})(?=$|[-_. ])")


@final
@dataclass(frozen=True, slots=True)
class Source:
    """One dataset as found: where its rows are, and a hash that changes when they do.

    Parameters
    ----------
    name
        As the user typed it.
    label
        Short name: the source of rows that do not name their own.
    files
        In row order; empty for a hub dataset.
    content_hash
        32 hex digits of BLAKE2b over the bytes of the files, or over what identifies a
        split on the hub.
    loaded
        The ``datasets.Dataset`` of a hub id.
    is_spooled
        Whether the file holds what was given otherwise, and is gone once it has been read.
    """

    name: str
    label: str
    container: Container
    files: tuple[Path, ...]
    content_hash: str
    split: str
    loaded: Any = None
    is_spooled: bool = False

    @property
    def compression(self) -> str | None:
        """Compression of the first file."""
        return (compression_of(self.files[0]) or None) if self.files else None


def compression_of(path: Path) -> str:
    """Return ``gz``, ``zst`` or an empty string, by the file's name."""
    return COMPRESSIONS.get(path.suffix.lower(), "")


def container_of(path: Path) -> Container | None:
    """Return the container that a file's name implies, ignoring compression, or None."""
    bare = path.with_suffix("") if compression_of(path) else path
    return EXTENSIONS.get(bare.suffix.lower())


def label_of(path: Path) -> str:
    """Return a file's name without the extensions of container and compression."""
    bare = path.with_suffix("") if compression_of(path) else path
    return bare.stem if container_of(path) else path.name


def resolve(data: str, split: str = "train") -> Source:
    """Find what ``data`` names and hash it.

    Parameters
    ----------
    data
        A file, a glob, a folder of files of one container, a ``save_to_disk`` folder, or a hub id
        ``org/name[:config][@revision]``. Local files take precedence over the hub.
    split
        Split of a hub id, a saved ``DatasetDict``, or a folder whose files are named after splits.

    Raises
    ------
    DataError
        Nothing is there, it cannot be read, or its containers are mixed or unknown. Hashing reads
        every byte once.
    """
    try:
        return _local_or_hub(data, split)
    except OSError as error:  # a folder on the way that may not be entered, a name too long
        where = error.filename or data
        raise DataError(
            f"cannot read {where}: {error.strerror or error}; check the path and its permissions"
        ) from None


def _local_or_hub(data: str, split: str) -> Source:
    path = Path(data).expanduser()
    if path.is_dir():
        return _from_folder(data, path, split)
    if path.exists():
        return _from_files(data, label_of(path), [path], split)
    if glob.has_magic(data):
        paths = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        files = [file for file in paths if file.is_file()]
        if not files:
            raise DataError(
                f"no file matches {data!r}; check the pattern, and quote it from the shell"
            )
        return _from_files(data, re.sub(r"[*?\[\]]+", "", label_of(path)) or "files", files, split)
    match = _HUB_ID.match(data)
    if match and container_of(path) is None:
        return _from_hub(data, match["id"], match["config"], match["revision"], split)
    raise DataError(f"no file {data!r}; check the path, or give a hub dataset as org/name")


def _from_files(name: str, label: str, files: Sequence[Path], split: str) -> Source:
    containers = {file: container_of(file) for file in files}
    for file, container in containers.items():
        if container is None:
            raise DataError(f"{file}: unknown file type {''.join(file.suffixes)!r}; {KNOWN}")
    kinds = sorted({str(container) for container in containers.values()})
    if len(kinds) > 1:
        raise DataError(f"{name} mixes {' and '.join(kinds)} files; ingest each kind separately")
    kind = cast(Container, kinds[0])
    return Source(name, label, kind, tuple(files), hash_files(files), split)


def _from_folder(name: str, folder: Path, split: str) -> Source:
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(
            child.name for child in folder.iterdir() if (child / "state.json").is_file()
        )
        if split not in splits:
            raise DataError(f"{name} has no split {split!r}; choose --split {' or '.join(splits)}")
        return _saved(name, folder / split, split)
    if (folder / "state.json").is_file():
        return _saved(name, folder, split)
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if container_of(file) is not None
        and file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
        and not file.name.endswith((".manifest.json", "dataset_info.json", "dataset_infos.json"))
        and file.name != "manifest.json"
        and not (file.name == "revisions.jsonl" and (folder / "manifest.json").is_file())
    ]
    if not files:
        raise DataError(f"folder {name} holds no data file; {KNOWN}")
    return _from_files(name, folder.resolve().name, _of_split(name, folder, files, split), split)


def _of_split(name: str, folder: Path, files: list[Path], split: str) -> list[Path]:
    """Keep the files of one split where the files or their folders are named after splits.

    Raises `DataError` where other files lie beside those of other splits: they may hold anything.
    """
    by_split = _by_split(folder, files, _SPLIT_NAME)
    if set(by_split) == {""}:
        within = _by_split(folder, files, _SPLIT_WITHIN)
        by_split = within if len(within) > 1 and "" not in within else by_split
    unnamed = by_split.pop("", [])
    others = sorted(by_split.keys() - {split})
    if unnamed and others:
        raise DataError(
            f"{name} holds files of the split{'s' if len(others) > 1 else ''} {' and '.join(others)}, and "
            f"{unnamed[0].relative_to(folder)}, whose name says no split; name what to read: a file, or a "
            f"pattern such as '{name.rstrip('/')}/{split}*'"
        )
    if unnamed:
        return files
    if split not in by_split:
        raise DataError(f"{name} has no split {split!r}; choose --split {' or '.join(by_split)}")
    return by_split[split]


def _by_split(
    folder: Path, files: Sequence[Path], pattern: re.Pattern[str]
) -> dict[str, list[Path]]:
    """Return files by the split that their name or that of a folder says, "" for none."""
    by_split: dict[str, list[Path]] = {}
    for file in files:
        parts = file.relative_to(folder).parts
        named = next((m[1] for part in parts if (m := pattern.search(part.lower()))), "")
        by_split.setdefault(named, []).append(file)
    return by_split


def _saved(name: str, folder: Path, split: str) -> Source:
    files = disk_files(folder)
    label = folder.resolve().parent.name if folder.name == split else folder.resolve().name
    return Source(name, label, "disk", tuple(files), hash_files(files), split)


def hash_files(files: Sequence[Path]) -> str:
    """Return 32 hex digits over the bytes of files, in order; `DataError` for an unreadable one."""
    total = blake2b(digest_size=16)
    for file in files:
        try:
            digest = file_hash(file)
        except FileNotFoundError:
            raise DataError(f"no file {str(file)!r}; check the path") from None
        except OSError as error:
            raise DataError(
                f"cannot read {file}: {error.strerror or error}; check its permissions"
            ) from None
        total.update(bytes.fromhex(digest))
    return total.hexdigest()


def _from_hub(
    name: str, hub_id: str, config: str | None, revision: str | None, split: str
) -> Source:
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise DataError(
            f"cannot load {name!r} from the hub: {error}; install it: pip install datasets"
        ) from None
    try:
        loaded = load_dataset(hub_id, config, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"no file {name!r} here, and the hub dataset {hub_id!r} (split {split!r}) cannot be "
            f"loaded: {first_line}; check the path or the id; offline it must already be cached"
        ) from None
    identity = (hub_id, config, revision, split, loaded._fingerprint)
    content_hash = blake2b(repr(identity).encode(), digest_size=16).hexdigest()
    return Source(name, hub_id, "hub", (), content_hash, split, loaded)
