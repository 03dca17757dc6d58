"""Reads a target set: the same readers as the pool's, into a store of its own."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, final

from curate.data.read.given import Data
from curate.data.read.ingest import IngestOptions, IngestReport, ingest
from curate.errors import ConfigError, DataError
from curate.store.records import utc_now

if TYPE_CHECKING:
    from curate.store import Store
    from curate.store.targets import TargetSet

MAX_EXAMPLES: Final = 100_000


@final
@dataclass(frozen=True, slots=True)
class TargetReport:
    """What adding one target set did.

    ``reused``: the same data was there already under this name. ``reads`` are the reports of its
    files; ``warnings`` say what is odd about it beside this pool.
    """

    target: "TargetSet"
    reused: bool
    reads: tuple[IngestReport, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the target set and what was odd, as plain values."""
        return {**asdict(self.target), "reused": self.reused, "warnings": list(self.warnings)}


def add_target(
    store: "Store",
    name: str,
    data: Sequence[Data],
    options: IngestOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> TargetReport:
    """Read 1 to 100,000 examples as a target set; nothing of it enters the pool.

    The same data under the same name is there already. O(rows).

    Parameters
    ----------
    name
        What ``--target`` will call it: letters, digits, dot, dash and underscore.
    data
        Files, globs, folders or hub ids, as `ingest` reads them.
    progress
        Called after each chunk with the number of rows read so far of one of ``data``.

    Raises
    ------
    DataError
        The data cannot be read or used, holds no row, or more than 100,000 examples.
    ConfigError
        There is another target set of this name.
    """
    from curate.store import Store

    if not data:
        raise ConfigError(f"target set {name!r} needs data; type: curate target add {name} DATA")
    known = {target.name: target for target in store.targets()}
    with store.target_writer(name) as writer:
        staged = Store(writer.path)
        seen: set[str] = set()

        def count(ids: Sequence[str]) -> None:
            seen.update(ids)
            if len(seen) > MAX_EXAMPLES:
                raise DataError(
                    f"{', '.join(map(str, data))} holds more than {MAX_EXAMPLES:,} examples, and a target set "
                    "at most so many; read the first of them with --limit"
                )

        reads = [
            report
            for dataset in data
            for report in ingest(staged, dataset, options, progress, count)
        ]
        content_hash = staged.pool_hash()
        if name in known:
            if known[name].content_hash == content_hash:
                store.target(name)  # fails where its file was lost
                return TargetReport(known[name], True, tuple(reads), ())
            raise ConfigError(
                f"there is a target set {name!r} with other data ({known[name].data}); take another "
                f"name, or remove it first: curate target remove {name}"
            )
        ids = staged.read("select id from examples order by id")["id"].to_pylist()
        facts = {
            "n_rows": sum(report.n_read - report.n_failed for report in reads),
            "content_hash": content_hash,
            "data": ", ".join(map(str, data)),
            "created_at": utc_now(),
        }
        made = writer.commit(ids, facts)
    return TargetReport(made, False, tuple(reads), tuple(_odd(made)))


def _odd(made: "TargetSet") -> list[str]:
    warnings = []
    if made.n_in_pool:
        warnings.append(
            f"{made.n_in_pool:,} of its {made.n_examples:,} examples are in the pool too: a model "
            "trained on them cannot be evaluated on them"
        )
    if made.n_examples > made.n_pool > 0:
        warnings.append(
            f"it has {made.n_examples:,} examples, more than the {made.n_pool:,} of the pool"
        )
    return warnings
