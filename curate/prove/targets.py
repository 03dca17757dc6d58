"""Target sets: what a proof evaluates on, and the slices it reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Int

from curate.errors import ConfigError, DataError
from curate.store.records import digest
from curate.train.data import TrainRow, rows_from_records

SLICE_COLUMNS: Final = ("category",)
MAX_SLICES: Final = 20
MIN_SLICE: Final = 10
_TERCILES: Final = ("short", "medium", "long")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One target set.

    Parameters
    ----------
    name
        Short name, from the file name.
    data
        As the user typed it.
    rows
        Distinct examples, in order of id.
    texts
        Prompt and response of each, for the check against the pool.
    labels
        Further columns to slice by, one value a row.
    """

    name: str
    data: str
    rows: Sequence[TrainRow]
    texts: Sequence[tuple[str, str]]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of the ids."""
        return digest("\n".join(row.id for row in self.rows), 8)

    def slices(
        self, ids: Sequence[str], n_tokens: Int[np.ndarray, " n"]
    ) -> dict[str, Bool[np.ndarray, " n"]]:
        """Return which of the evaluated examples are in each slice, by ``column: value``.

        Source, the labels, and terciles of the response's length in tokens; a column with one
        value gives none, nor does a value with fewer than 10 examples.
        """
        place = {row.id: number for number, row in enumerate(self.rows)}
        at = [place[example_id] for example_id in ids]
        columns = {"source": [self.rows[i].source for i in at]}
        columns |= {name: [values[i] for i in at] for name, values in self.labels.items()}
        columns["response length"] = _terciles(n_tokens)
        slices: dict[str, Bool[np.ndarray, " n"]] = {}
        for name, values in columns.items():
            kinds = sorted(set(values), key=_order)
            if 1 < len(kinds) <= MAX_SLICES:
                array = np.array(values)
                masks = {f"{name}: {kind}": array == kind for kind in kinds}
                slices |= {key: mask for key, mask in masks.items() if mask.sum() >= MIN_SLICE}
        return slices

    def without(self, ids: set[str]) -> "Target":
        """Return the target without some examples; raise `DataError` if none is left."""
        kept = [i for i, row in enumerate(self.rows) if row.id not in ids]
        if not kept:
            raise DataError(f"target {self.name!r} has nothing left that is not in the pool")
        return replace(
            self,
            rows=[self.rows[i] for i in kept],
            texts=[self.texts[i] for i in kept],
            labels={name: [values[i] for i in kept] for name, values in self.labels.items()},
        )


def read_targets(
    data: Sequence[str], *, split: str = "train", limit: int | None = None
) -> list[Target]:
    """Read target sets; ``limit`` keeps at most that many examples of each, evenly spaced in order of id.

    Raises `DataError` for a file that is missing, empty or wrong, and `ConfigError` for no target.
    """
    if not data:
        raise ConfigError("a proof needs a target set; add --target FILE")
    if limit is not None and limit < 1:
        raise ConfigError(f"--target-limit must be at least 1, got {limit}")
    targets = [_read(dataset, split, limit) for dataset in data]
    names = [target.name for target in targets]
    return [
        target if names.count(target.name) == 1 else replace(target, name=f"{target.name}-{place}")
        for place, target in enumerate(targets, 1)
    ]


def _read(data: str, split: str, limit: int | None) -> Target:
    from curate.data.read.binding import bound_chunks
    from curate.data.read.canonical import canonicalise, example_batch
    from curate.data.read.sources import resolve

    source = resolve(data, split)
    label_names: list[str] | None = None
    records: dict[str, dict[str, Any]] = {}
    for chunk, layout in bound_chunks(source):
        if label_names is None:
            label_names = [name for name in SLICE_COLUMNS if name in chunk.names()]
        converted = canonicalise(chunk, layout)
        if converted.bad:
            raise DataError(f"{converted.bad[0].place}: {converted.bad[0].reason}")
        batch = example_batch(chunk, layout, converted, None, source.label).to_pylist()
        labels = {name: chunk.values(name) for name in label_names}
        for at, record in zip(converted.kept, batch, strict=True):
            record["labels"] = {name: str(values[at]) for name, values in labels.items()}
            records.setdefault(record["id"], record)
    ordered = [records[example_id] for example_id in sorted(records)]
    if limit is not None and limit < len(ordered):
        ordered = [ordered[i * len(ordered) // limit] for i in range(limit)]
    return Target(
        name=_short_name(data),
        data=data,
        rows=list(rows_from_records(ordered)),
        texts=[(record["prompt"] or "", record["response"] or "") for record in ordered],
        labels={name: [record["labels"][name] for record in ordered] for name in label_names or ()},
    )


def _short_name(data: str) -> str:
    name = Path(data).name
    for ending in (".gz", ".zst", ".jsonl", ".json", ".parquet", ".csv", ".arrow"):
        name = name.removesuffix(ending)
    return name or data


def _terciles(lengths: Int[np.ndarray, " n"]) -> list[str]:
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])
    return [_TERCILES[int(n > low) + int(n > high)] for n in lengths.tolist()]


def _order(kind: str) -> tuple[int, str]:
    return (_TERCILES.index(kind), "") if kind in _TERCILES else (len(_TERCILES), kind)
