"""The pool in embedding-atlas, a viewer of embeddings by others, where that is installed."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.errors import MissingPackageError

if TYPE_CHECKING:
    from curate.store import Store
    from curate.store.query.snapshot import Snapshot

COMMAND: Final = "embedding-atlas"


@contextmanager
def atlas(store: "Store", port: int) -> Iterator[list[str]]:
    """Write the pool to a file for embedding-atlas; yield the command that shows it.

    The file lasts as long as the block. It has the id, source, prompt and response of each example,
    its scores, and the places of the first stored embedding; without one there is no map, since
    embedding-atlas would have to load a model of its own choice for it.

    Raises `MissingPackageError` where embedding-atlas is not installed.
    """
    program = shutil.which(COMMAND)
    if program is None:
        raise MissingPackageError(
            f"--atlas needs {COMMAND}, which is not installed; type: pip install {COMMAND}"
        )
    with tempfile.TemporaryDirectory(prefix="curate-atlas-") as folder:
        path = Path(folder) / "pool.parquet"
        has_places = _write(store, path)
        words = [program, str(path), "--text", "response"]
        words += ["--x", "x", "--y", "y"] if has_places else ["--disable-projection"]
        yield [*words, *(["--port", str(port)] if port else [])]


def show(words: list[str]) -> int:
    """Run embedding-atlas until it ends or is interrupted; return its exit code."""
    try:
        return subprocess.run(words, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _write(store: "Store", path: Path) -> bool:
    """Write the pool as Parquet; return whether it has places on a map."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    snapshot = store.snapshot()
    texts = store.read("select id, source, prompt, response, n_chars from examples order by id")
    columns: dict[str, Any] = {name: texts[name] for name in texts.column_names}
    for name, described in snapshot.columns.items():
        if described.shape is not None:
            columns[name] = snapshot.array(name)
    places = _places(store, snapshot)
    if places is not None:
        columns |= {"x": pa.array(places[:, 0]), "y": pa.array(places[:, 1])}
    pq.write_table(pa.table(columns), path)
    return places is not None


def _places(store: "Store", snapshot: "Snapshot") -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """Return the places of the first stored embedding, (n, 2), NaN where there is no vector."""
    from curate.store.query.projection import best_layout

    n = len(snapshot)
    for shape in snapshot.shapes.values():
        for column in shape.vectors:
            points, ids = store.projected(shape.set_id, column, best_layout(n))
            rows = snapshot.places(ids)
            places = np.full((n, 2), np.nan)
            places[rows[rows >= 0]] = points[rows >= 0]
            return places
    return None
