"""Reads a dataset into the store: detect, canonicalise, hash, write; all or nothing."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, final

import pyarrow as pa

from curate.contracts.display import counted
from curate.data.messages import text_of
from curate.data.read.binding import Binder
from curate.data.read.canonical import CanonicalRow, canonicalise, example_batch, new_rows
from curate.data.read.containers.readers import Reader, open_reader
from curate.data.read.detection import Layout
from curate.data.read.external_ids import ExternalIds
from curate.data.read.given import Data
from curate.data.read.records import BadRecord, Chunk
from curate.data.read.several import OneResponseEach
from curate.data.read.sources import Source
from curate.data.read.spooled import found
from curate.errors import ConfigError, DataError, StoreError

if TYPE_CHECKING:
    from curate.store import Dataset, PoolWriter, Store

_SHOWN: Final = 600  # characters of a message in the preview
_SKIP_HINT: Final = "correct it, or skip bad rows and record them with --on-error skip"


@final
@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to read a dataset.

    Parameters
    ----------
    format
        ``auto``, or the name of one of `curate.data.read.formats.FORMATS`.
    split
        Split of a hub dataset, a saved ``DatasetDict`` or a folder.
    source
        Source of every row; by default the column ``source`` where it is plain text, else the
        dataset's short name.
    columns
        Role to column, as in ``{"messages": "dialogs"}``; an empty column switches a role off.
    limit
        Read at most this many rows.
    on_error
        ``fail`` at the first row that cannot be used, or ``skip`` and record it.
    name
        Short name of the dataset instead of the file's.
    roles
        Speaker to role, as in ``{"narrator": "system"}``.
    """

    format: str = "auto"
    split: str = "train"
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    on_error: Literal["fail", "skip"] = "fail"
    name: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """Return the options as a dataset's facts keep them."""
        options = asdict(self)
        return {key: value for key, value in options.items() if key != "roles" or value}


@final
@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one ingest did.

    ``n_read`` rows = ``n_added`` new examples + ``n_duplicate`` further rows of known ones +
    ``n_failed`` rows skipped. ``preview`` is the first example as text. ``reused``: the dataset
    was already in the store, and was only hashed. ``unread`` counts what has content but is not
    read: columns by the rows, turn keys by the turns.
    """

    dataset_id: str
    name: str
    n_read: int
    n_added: int
    n_duplicate: int
    n_failed: int
    format: str
    container: str
    columns: Mapping[str, str]
    preview: str
    warnings: tuple[str, ...]
    reused: bool
    unread: Mapping[str, int] = field(default_factory=dict)


def ingest(
    store: "Store",
    data: Data,
    options: IngestOptions | None = None,
    progress: Callable[[int], None] | None = None,
    count: Callable[[Sequence[str]], None] | None = None,
) -> list[IngestReport]:
    """Add a dataset to the pool.

    Rows are streamed in chunks of at most 8,192, so memory does not grow with the file. A dataset
    that was ingested before, with the same bytes and options, costs only the hashing of its files.

    Parameters
    ----------
    data
        A file, glob, folder, saved dataset or hub id: see `curate.data.read.sources.resolve`. Or
        ``-`` for standard input, or rows in memory.
    progress
        Called after each chunk with the number of rows read so far.
    count
        Called with the example ids of each chunk; what it raises ends the reading.

    Raises
    ------
    DataError
        The input cannot be read, recognised, or used; it names the file and the row. The store is
        then unchanged.
    """
    options = options or IngestOptions()
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, got {options.limit}")
    if options.on_error not in ("fail", "skip"):
        raise ConfigError(f"--on-error must be fail or skip, got {options.on_error!r}")
    with found(data, options.split, store.parts / "cache") as source:
        return [_ingested(store, source, options, progress or _silent, count)]


def _ingested(
    store: "Store",
    source: Source,
    options: IngestOptions,
    progress: Callable[[int], None],
    count: Callable[[Sequence[str]], None] | None,
) -> IngestReport:
    dataset_id = _dataset_id(source, options)
    warnings: list[str] = []
    for known in store.datasets():
        if known.dataset_id == dataset_id:
            return _reused(known)
        if known.content_hash == source.content_hash:
            text = f"the same content is already in the store as dataset {known.dataset_id} ({known.name})"
            warnings = [f"{text}, read with other options"]
    work = _Ingest(store, source, options, dataset_id, warnings, count)
    try:
        return work.run(progress)
    except StoreError as error:
        if not error.is_repeated:
            raise
    return next(_reused(known) for known in store.datasets() if known.dataset_id == dataset_id)


def _silent(n_rows: int) -> None:
    del n_rows


def _dataset_id(source: Source, options: IngestOptions) -> str:
    identity = {
        "content": source.content_hash,
        "split": options.split,
        "format": options.format,
        "columns": dict(options.columns),
        "source": options.source,
        "limit": options.limit,
        **({"roles": dict(options.roles)} if options.roles else {}),
    }
    text = json.dumps(identity, sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _reused(known: "Dataset") -> IngestReport:
    n_rows = known.n_rows
    return IngestReport(
        known.dataset_id, known.name, n_rows, 0, n_rows, 0, known.format, known.container,
        known.columns, str(known.extra.get("preview", "")), (), True,
    )  # fmt: skip


@final
class _Ingest:
    """One dataset being read into one store."""

    def __init__(
        self,
        store: "Store",
        source: Source,
        options: IngestOptions,
        dataset_id: str,
        warnings: Sequence[str],
        count: Callable[[Sequence[str]], None] | None,
    ) -> None:
        self._count = count
        self._said = tuple(warnings)
        self._store = store
        self._source = source
        self._options = options
        self._dataset_id = dataset_id
        self._external_ids = ExternalIds()
        self._split = OneResponseEach(source.container)
        self._n_rejected = 0
        self._n_own_system = 0
        self._first_own_system = ""
        self._first_bad: BadRecord | None = None

    def run(self, progress: Callable[[int], None]) -> IngestReport:
        from curate.store import Dataset

        reader = open_reader(self._source)
        chunks = _limited(reader.chunks(), self._options.limit)
        first, binder = self._recognise(chunks)
        layout = binder.layout
        preview = self._preview(first, layout)
        dataset = Dataset(
            dataset_id=self._dataset_id,
            name=self._source.name,
            container=self._source.container,
            format=layout.format.name,
            columns=layout.columns,
            compression=self._source.compression,
            content_hash=self._source.content_hash,
            split=self._options.split,
            extra=self._extra(reader, preview),
        )
        n_read = n_kept = 0
        writer = self._store.pool_writer(dataset, reader.schema)
        try:
            for chunk in chain(first, chunks):
                layout = binder.see(chunk)
                binder.count(chunk)
                n_kept += sum(
                    self._write(writer, piece, layout) for piece in self._split(chunk, layout)
                )
                n_read += chunk.n_read
                progress(n_read)
            if n_kept == 0:
                raise DataError(self._nothing_usable(n_read))
            binder.check()
            writer.bind(layout.columns)
            counts = writer.commit()
        except (
            pa.ArrowInvalid
        ) as error:  # as of a second in the year 36 billion, kept in milliseconds
            writer.abort()
            raise DataError(
                f"{self._source.name} has a value that cannot be kept ({error}); cast or drop its column"
            ) from error
        except BaseException:
            writer.abort()
            raise
        return IngestReport(
            self._dataset_id, self._source.name, counts.n_read, counts.n_added,
            counts.n_duplicate, counts.n_failed, layout.format.name, self._source.container,
            layout.columns, preview, (*self._said, *self._warnings(counts.n_failed, layout)), False,
            binder.unread,
        )  # fmt: skip

    def _recognise(self, chunks: Iterator[Chunk]) -> tuple[list[Chunk], Binder]:
        """Read up to the first chunk with a good row; bad rows before it fail or are held back."""
        first: list[Chunk] = []
        for chunk in chunks:
            first.append(chunk)
            if chunk.bad and self._options.on_error == "fail":
                raise DataError(_at(chunk.bad[0]))
            if len(chunk):
                break
        if not first or not len(first[-1]):
            raise DataError(self._nothing_usable(sum(chunk.n_read for chunk in first), first))
        options = self._options
        binder = Binder(
            self._source.name, first[-1], self._source.container, options.format, options.columns,
            options.roles,
        )  # fmt: skip
        return first, binder

    def _nothing_usable(self, n_read: int, chunks: Sequence[Chunk] = ()) -> str:
        name = self._source.name
        bad = self._first_bad or next((bad for chunk in chunks for bad in chunk.bad), None)
        if bad is None:
            return f"{name} holds no rows; check that it is the right file"
        return f"{name} has no usable row among {n_read}; the first: {bad.place}: {bad.reason}"

    def _extra(self, reader: Reader, preview: str) -> dict[str, Any]:
        label = self._options.name or self._source.label
        files = [str(file.resolve()) for file in self._source.files if not self._source.is_spooled]
        facts = {"label": label, "files": files, "preview": preview}
        return {**reader.extra, **facts, "options": self._options.stored()}

    def _preview(self, first: Sequence[Chunk], layout: Layout) -> str:
        split = OneResponseEach(self._source.container)(first[-1].sample(64), layout)
        rows = chain.from_iterable(new_rows(piece, layout) for piece in split)
        return next((render(row.messages) for row in rows if isinstance(row, CanonicalRow)), "")

    def _write(self, writer: "PoolWriter", chunk: Chunk, layout: Layout) -> int:
        label = self._options.name or self._source.label
        converted = canonicalise(chunk, layout)
        bad = sorted([*chunk.bad, *converted.bad], key=lambda record: record.position)
        if bad:
            if self._options.on_error == "fail":
                raise DataError(_at(bad[0]))
            self._first_bad = self._first_bad or bad[0]
            for record in bad:
                writer.skip(record.position, record.place, record.reason)
        if converted.own_system:
            self._n_own_system += len(converted.own_system)
            self._first_own_system = self._first_own_system or chunk.place(converted.own_system[0])
        batch = example_batch(chunk, layout, converted, self._options.source, label)
        self._external_ids.add(batch, chunk.continued)
        if self._count is not None:
            self._count(batch.column("id").to_pylist())
        if layout.format.name == "preference":
            self._n_rejected += batch.num_rows
        raw = chunk.raw
        if converted.bad:
            raw = raw.take(pa.array(converted.kept, pa.int64()))
        if batch.num_rows:
            writer.append(batch, raw)
        return len(converted.kept)

    def _warnings(self, n_failed: int, layout: Layout) -> Iterator[str]:
        if n_failed:
            assert self._first_bad is not None
            yield (
                f"{counted(n_failed, 'row')} skipped and recorded; the first: "
                f"{self._first_bad.place}: {self._first_bad.reason}"
            )
        if n := self._n_own_system:
            rows = "1 row has a system turn" if n == 1 else f"{n:,} rows have a system turn"
            yield (
                f"{rows} of {'its' if n == 1 else 'their'} own that differs from column "
                f"{layout.columns['system']!r}; the turn is used and the column is not (the first: "
                f"{self._first_own_system}); --column system= leaves the column out"
            )
        if self._n_rejected:
            yield (
                f"preference data: {self._n_rejected} rejected responses stay in the raw rows "
                "and are not in the pool"
            )
        yield from self._external_ids.warning()


def _at(bad: BadRecord) -> str:
    return f"{bad.place}: {bad.reason}; {_SKIP_HINT}"


def _limited(chunks: Iterator[Chunk], limit: int | None) -> Iterator[Chunk]:
    if limit is None:
        yield from chunks
        return
    n_read = 0
    for chunk in chunks:
        n_before, n_read = n_read, n_read + chunk.n_read
        yield chunk.head(limit - n_before)
        if n_read >= limit:
            return


def render(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return an example as text for a human, long messages cut, with a count of the characters left out."""
    blocks = []
    for message in messages:
        text = text_of(message)
        if len(text) > _SHOWN:
            text = f"{text[:_SHOWN]}... ({len(text) - _SHOWN} more characters)"
        blocks.append(f"[{message['role']}]\n{text}")
    return "\n".join(blocks).encode("utf-8", "replace").decode()
