"""A stored selection as notebooks and the command line use it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final, overload

import numpy as np

from curate.data.message_column import with_message_lists
from curate.data.revisions import revisions_of, with_revisions
from curate.errors import ConfigError, did_you_mean
from curate.views.notebook.cards import selection_card
from curate.views.notebook.rows import Rows

if TYPE_CHECKING:
    import datasets
    import polars as pl
    import pyarrow as pa

    from curate.api.pool import Pool

ExportFormat: TypeAlias = Literal["input", "messages", "sharegpt", "alpaca", "prompt-completion"]

KEPT: Final = ("id", "rank", "gain", "weight", "reason", "source")


@final
@dataclass(frozen=True, slots=True)
class StoredSelection:
    """A stored selection: its record, and its examples in any form a notebook wants."""

    pool: "Pool"
    document: dict[str, Any]

    def __len__(self) -> int:
        return int(self.document["n_selected"])

    def __repr__(self) -> str:
        d = self.document
        if "selection_id" not in d:
            return f"StoredSelection(plan: {d.get('text', '')!r})"
        return f"StoredSelection({d['selection_id']!r}, {d['method']}, {d['n_selected']:,} of {d['n_pool']:,})"

    def _repr_html_(self) -> str:
        return selection_card(self)

    @property
    def id(self) -> str:
        """The selection's id; `ConfigError` for the plan of a dry run, which has none."""
        if "selection_id" not in self.document:
            raise ConfigError("this is the plan of a dry run, not a selection; leave dry_run out")
        return str(self.document["selection_id"])

    @property
    def ids(self) -> list[str]:
        """The ids of its examples, best first."""
        ids: list[str] = self.rows()["id"].to_pylist()
        return ids

    def __iter__(self) -> "Iterator[dict[str, Any]]":
        """Yield its examples as dicts, best first: the columns of `to_arrow`."""
        yield from self.to_arrow().to_pylist()

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> "Rows": ...

    def __getitem__(self, place: int | slice) -> "dict[str, Any] | Rows":
        """Return one example as a dict, or several as `Rows`, by their place: 0 is the best.

        Places count the examples that are still in the pool.
        """
        if isinstance(place, slice):
            ends = (place.start or 0, -1 if place.stop is None else place.stop)
            is_first_part = min(ends) >= 0 and (place.step or 1) > 0
            table = self.to_arrow(place.stop if is_first_part else None)
            places = np.arange(*place.indices(table.num_rows))
            return Rows(table.take(places), "examples")
        table = self.to_arrow(place + 1 if place >= 0 else None)
        if not -table.num_rows <= place < table.num_rows:
            raise IndexError(f"place {place} of a selection of {table.num_rows:,} examples")
        example: dict[str, Any] = table.slice(place % table.num_rows, 1).to_pylist()[0]
        return example

    def rows(self) -> "pa.Table":
        """Return id, rank, gain, weight and reason in rank order, as an Arrow table."""
        return self.pool.store.selection_rows(self.id)

    def to_arrow(self, limit: int | None = None) -> "pa.Table":
        """Return the chosen examples in rank order: rank, gain, weight, reason, source, texts.

        ``messages`` are lists of structs, see `curate.data.message_column.message_column`.
        ``limit`` is how many of them, best first.
        Examples that were forgotten since are left out; revised responses replace the
        originals.
        """
        some = (
            ""
            if limit is None
            else f"and id in (select id from internal.examples) order by rank limit {int(limit)}"
        )
        table = self.pool.store.read(
            "select r.rank, r.id, r.gain, r.weight, r.reason, e.source, e.messages, e.prompt, "
            "e.response from (select * from selection_rows "
            f"where selection_id = '{self.id}' {some}) r join examples e using (id) order by r.rank"
        )
        return with_message_lists(with_revisions(table, revisions_of(self.pool.store, self.id)))

    def to_polars(self) -> "pl.DataFrame":
        """Return the result of `to_arrow` as a polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> Any:
        """Return the result of `to_arrow` as a `pandas.DataFrame`."""
        return self.to_arrow().to_pandas()

    def to_dataset(
        self, *, to: Literal["messages", "prompt-completion"] = "messages",
        keep: Sequence[str] = (),
    ) -> "datasets.Dataset":  # fmt: skip
        """Return the chosen examples as a `datasets.Dataset`, best first.

        Parameters
        ----------
        to
            ``messages``: one column with the whole conversation. ``prompt-completion``: ``prompt``,
            the turns before the last, and ``completion``, the last one, both as messages.
        keep
            Further columns: id, rank, gain, weight, reason, source.

        Raises `ConfigError` for a column that a selection does not have.
        """
        import datasets
        import pyarrow as pa

        table = self.to_arrow()
        keep = (keep,) if isinstance(keep, str) else keep
        for name in keep:
            if name not in KEPT:
                raise ConfigError(
                    f"keep names {name!r}{did_you_mean(name, KEPT)}; a selection has: {', '.join(KEPT)}"
                )
        if to not in ("messages", "prompt-completion"):
            raise ConfigError(f"to={to!r} is not one of messages, prompt-completion")
        messages = table["messages"]
        made = table.select(list(keep))
        if to == "messages":
            return datasets.Dataset(made.append_column("messages", messages))
        turns = messages.to_pylist()
        for name, part in (("prompt", slice(None, -1)), ("completion", slice(-1, None))):
            column = pa.array([conversation[part] for conversation in turns], messages.type)
            made = made.append_column(name, column)
        return datasets.Dataset(made)

    def examples(self, limit: int | None = None) -> "Rows":
        """Return the chosen examples with their texts, best first, without those forgotten since."""
        return self._examples(self.ids[:limit])

    def without(self, other: "StoredSelection") -> "Rows":
        """Return the examples that are in this selection but not in the other, best first."""
        theirs = set(other.ids)
        return self._examples([example_id for example_id in self.ids if example_id not in theirs])

    def _examples(self, ids: list[str]) -> "Rows":
        table = self.pool.store.examples_by_id(ids)
        table = with_revisions(table, revisions_of(self.pool.store, self.id))
        return Rows(with_message_lists(table), "examples")

    def to_jsonl(self, path: str | Path) -> Path:
        """Write the input's own rows as JSON lines in rank order; return the path."""
        return Path(self.export(path)["output"])

    def export(
        self, output: str | Path, *, trainer: str | None = None,
        validation: str | int | None = None, seed: int = 0, shard_rows: int | None = None,
        lossy: bool = False, push_to_hub: str | None = None, yes: bool = False,
        to: ExportFormat | None = None, order: Literal["rank", "input"] = "rank",
        annotate: bool = False, keep_duplicates: bool = False, overwrite: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the selection to a file or folder; record the path in ``document``.

        The options are those of `Pool.export`.
        """
        report = self.pool.export(
            self.id, output, trainer=trainer, validation=validation, seed=seed,
            shard_rows=shard_rows, lossy=lossy, push_to_hub=push_to_hub, yes=yes, to=to,
            order=order, annotate=annotate, keep_duplicates=keep_duplicates, overwrite=overwrite,
        )  # fmt: skip
        for warning in report["warnings"]:
            self.pool.progress.note(f"warning: {warning}")
        self.document.update(output=report["output"], manifest=report["manifest"])
        return report

    def plan_text(self) -> str:
        """Return the plan of a dry run as text."""
        return str(self.document["text"])


def id_of(selection: Any) -> Any:
    """Return the id of a stored selection; anything else, such as an id, as it is."""
    return selection.id if isinstance(selection, StoredSelection) else selection


def ids_given(examples: Any) -> Any:
    """Return what names examples as ids or text: of selections, of tables with an id column, of series.

    Anything else is returned as it is. Raises `ConfigError` for a table without a column ``id``.
    """
    if isinstance(examples, StoredSelection):
        return [examples.id]
    if isinstance(examples, list | tuple):
        return [*map(id_of, examples)]
    if hasattr(examples, "columns") or hasattr(examples, "column_names"):
        names = list(getattr(examples, "column_names", None) or examples.columns)
        if "id" not in names:
            raise ConfigError(
                f"a table without a column 'id' names no examples (it has: {', '.join(map(str, names))})"
            )
        examples = examples.table["id"] if isinstance(examples, Rows) else examples["id"]
    for listed in ("to_pylist", "to_list", "tolist"):
        if hasattr(examples, listed):
            return getattr(examples, listed)()
    return examples
