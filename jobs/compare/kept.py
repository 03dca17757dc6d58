"""The folder a comparison keeps its store in, if it keeps one."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

WORK: Final = "--work"


@contextmanager
def kept_folder(folder: Path | None) -> Iterator[Path]:
    """Give a folder that stays, so that another run scores nothing twice, or one that does not."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="curate-compare-") as work:
        yield Path(work)


def command_line(script: str, words: Sequence[str]) -> str:
    """Return what was typed, without where the store was kept, which changes nothing."""
    kept = [n for n, word in enumerate(words) if word == WORK]
    told = [word for n, word in enumerate(words) if n not in kept and n - 1 not in kept]
    return " ".join(["python", f"jobs/compare/{script}", *told])
