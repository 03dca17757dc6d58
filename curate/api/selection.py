"""A stored selection as notebooks and the command line use it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from curate.data.revisions import revisions_of, with_revisions
from curate.views.notebook.cards import selection_card
from curate.views.notebook.rows import Rows

if TYPE_CHECKING:
    import datasets
    import polars as pl
    import pyarrow as pa

    from curate.api.pool import Pool


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
        """The selection's id."""
        return str(self.document["selection_id"])

    @property
    def ids(self) -> list[str]:
        """The ids of its examples, best first."""
        ids: list[str] = self.rows()["id"].to_pylist()
        return ids

    def rows(self) -> "pa.Table":
        """Return id, rank, gain, weight and reason in rank order, as an Arrow table."""
        return self.pool.store.selection_rows(self.id)

    def to_arrow(self, limit: int | None = None) -> "pa.Table":
        """Return the chosen examples in rank order: rank, gain, weight, reason, source, texts.

        ``limit`` is how many of them, best first.
        Examples that were forgotten since are left out; revised responses replace the
        originals.
        """
        some = (
            ""
            if limit is None
            else f"and id in (select id from internal.examples) order by rank limit {int(limit)}"
        )
        table = self.pool.store.query(
            "select r.rank, r.id, r.gain, r.weight, r.reason, e.source, e.messages, e.prompt, "
            "e.response from (select * from selection_rows "
            f"where selection_id = '{self.id}' {some}) r join examples e using (id) order by r.rank"
        )
        return with_revisions(table, revisions_of(self.pool.store, self.id))

    def to_polars(self) -> "pl.DataFrame":
        """Return the result of `to_arrow` as a polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> Any:
        """Return the result of `to_arrow` as a `pandas.DataFrame`."""
        return self.to_arrow().to_pandas()

    def to_dataset(self) -> "datasets.Dataset":
        """Return the chosen examples as a `datasets.Dataset` with a ``messages`` column."""
        import datasets

        rows = [{"messages": json.loads(text)} for text in self.to_arrow()["messages"].to_pylist()]
        return datasets.Dataset.from_list(rows)

    def examples(self, limit: int | None = None) -> "Rows":
        """Return the chosen examples with their texts, best first, without those forgotten since."""
        return self._examples(self.ids[:limit])

    def without(self, other: "StoredSelection") -> "Rows":
        """Return the examples that are in this selection but not in the other, best first."""
        theirs = set(other.ids)
        return self._examples([example_id for example_id in self.ids if example_id not in theirs])

    def _examples(self, ids: list[str]) -> "Rows":
        table = self.pool.store.examples_by_id(ids)
        return Rows(with_revisions(table, revisions_of(self.pool.store, self.id)), "examples")

    def to_jsonl(self, path: str | Path) -> Path:
        """Write the input's own rows as JSON lines in rank order; return the path."""
        return Path(self.export(path)["output"])

    def export(self, output: str | Path, **options: Any) -> dict[str, Any]:
        """Write the selection to a file or folder; record the path in ``document``."""
        report = self.pool.export(self.id, output, **options)
        self.document.update(output=report["output"], manifest=report["manifest"])
        return report

    def plan_text(self) -> str:
        """Return the plan of a dry run as text."""
        return str(self.document["text"])
