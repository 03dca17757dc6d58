"""The examples of a shard, rendered: at once, or window by window while the device works."""

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, final

import pyarrow as pa
import pyarrow.compute as pc

from curate.contracts import KILLS_WORKER, Example, Rendering
from curate.scoring.executors.worker import WHOLE, Portion
from curate.store.parts import open_parquet, present
from curate.store.pool.input_values import input_values

if TYPE_CHECKING:
    from curate.models.text.render import Rendered, Renderer

T = TypeVar("T")
TEXT_BLOCK: Final = 512  # examples parsed and tokenised together
WINDOW: Final = 1_024  # examples whose batches are planned together while others are rendered
SWITCH_S: Final = 1e-4  # torch lets go of Python's lock in each call and must not wait 5 ms for it
_COLUMNS: Final = ("id", "messages", "tools", "input_at")
AHEAD: Final = 4  # windows that may wait for the device


def read_examples(
    path: Path,
    block: int = TEXT_BLOCK,
    only: pa.Array | None = None,
    columns: Sequence[str] = (),
) -> Iterator[list[Example]]:
    """Stream the examples of a shard file, a block at a time, in its order; ``only`` some ids.

    ``columns`` are those of their input rows that go into `Example.row`.
    """
    if columns:
        for examples in read_examples(path, block, only):
            rows = input_values(path, [example.id for example in examples], columns)
            yield [replace(example, row=row) for example, row in zip(examples, rows, strict=True)]
        return
    with open_parquet(path) as file:
        names = present(file, _COLUMNS)
        for batch in file.iter_batches(block, columns=names):
            if only is not None:
                batch = batch.filter(pc.is_in(batch.column("id"), only))
            if len(batch) == 0:
                continue
            cells = (batch.column(name).to_pylist() for name in names)
            yield [
                Example(i, tuple(json.loads(m)), tuple(json.loads(t)) if t else None, *input_at)
                for i, m, t, *input_at in zip(*cells, strict=True)
            ]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Some examples of a shard in each rendering; an example that has none gives its reason.

    ``first`` is the place of the first one in the shard, ``read_s`` the seconds this took. Of
    ``omitted`` examples the rendering is blank.
    """

    first: int
    ids: list[str]
    rendered: "dict[Rendering, list[Rendered | str]]"
    read_s: float
    omitted: frozenset[str] = frozenset()


def windows(
    renderer: "Renderer",
    renderings: Sequence[Rendering],
    shard: Path,
    only: pa.Array | None = None,
    *,
    size: int | None = None,
    portion: Portion = WHOLE,
) -> Iterator[Window]:
    """Yield a shard in windows of at least ``size`` examples; all of it at once by default.

    Where the cuts lie depends on the shard and ``size`` alone.
    """
    omitted = portion.omitted
    began = time.perf_counter()
    first = 0
    ids: list[str] = []
    rendered: dict[Rendering, list[Rendered | str]] = {rendering: [] for rendering in renderings}
    for examples in read_examples(shard, only=only):
        ids += [example.id for example in examples]
        for rendering, rows in rendered.items():
            rows += _render(renderer, examples, rendering, portion)
        if size is not None and len(ids) >= size:
            yield Window(first, ids, rendered, time.perf_counter() - began, omitted)
            began, first = time.perf_counter(), first + len(ids)
            ids, rendered = [], {rendering: [] for rendering in renderings}
    if ids or not first:
        yield Window(first, ids, rendered, time.perf_counter() - began, omitted)


def _render(
    renderer: "Renderer", examples: Sequence[Example], rendering: Rendering, portion: Portion
) -> "list[Rendered | str]":
    left_out = frozenset() if portion.renders_omitted else portion.omitted
    shown = [example for example in examples if example.id not in left_out]
    rows = dict(zip([e.id for e in shown], renderer.render(shown, rendering), strict=True))
    for example_id in portion.omitted.intersection(rows):
        row = rows[example_id]
        rows[example_id] = row if isinstance(row, str) else row.blank()
    return [rows.get(example.id, KILLS_WORKER) for example in examples]


@final
@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


_END: Final = object()


def ahead(items: Iterator[T], n: int = AHEAD) -> Iterator[T]:
    """Yield what another iterator yields, made in a thread that keeps up to ``n`` items ready.

    An error in the thread is raised here. The thread ends when this iterator does.
    """
    ready: queue.Queue[object] = queue.Queue(n)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            put(_Failed(error))

    thread = threading.Thread(target=work, name="rendering", daemon=True)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
        sys.setswitchinterval(interval)
