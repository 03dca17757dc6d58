"""Export a stored selection: to a file, or to a folder that a trainer and the hub can read."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

from curate.data.write.card import CardFacts, card, shown_name
from curate.data.write.commands import commands_of
from curate.data.write.hub import check_repo, upload, upload_plan
from curate.data.write.manifest import manifest_path, write_manifest
from curate.data.write.overwriting import has_manifest, input_files, refuse_overwriting
from curate.data.write.portable import portable_record
from curate.data.write.revisions_file import REVISIONS, revisions_path, write_revisions
from curate.data.write.row_formats import tally_lines
from curate.data.write.splits import validation_ids
from curate.data.write.trainers.base import Exported
from curate.errors import ConfigError, DataError

To: TypeAlias = Literal["input", "messages", "sharegpt", "alpaca", "prompt-completion"]
Order: TypeAlias = Literal["rank", "input"]
INPUT: Final = "input"

if TYPE_CHECKING:
    from curate.data.write.rows import ExportOptions, ExportReport
    from curate.data.write.trainers.base import Trainer
    from curate.store import Store


@final
@dataclass(frozen=True, slots=True)
class ExportSpec:
    """How an output is written, as recorded in its manifest.

    Parameters
    ----------
    to
        The format of the rows; with a trainer one of its formats. None, which no manifest has: as they
        came, as messages where datasets of different columns cannot share a file so, or the trainer's
        first format.
    order, annotate, keep_duplicates, lossy, shard_rows
        See `curate.data.write.rows.ExportOptions`.
    trainer
        The trainer whose registration is written beside the data, or None.
    validation
        Share or number of examples of a validation split, or None.
    seed
        Of the validation split.
    """

    to: str | None = None
    order: Order = "rank"
    annotate: bool = False
    keep_duplicates: bool = False
    lossy: bool = False
    shard_rows: int | None = None
    trainer: str | None = None
    validation: str | None = None
    seed: int = 0

    @classmethod
    def of_manifest(cls, output: Mapping[str, Any]) -> "ExportSpec":
        """Read the ``output`` of a manifest; fields missing in older ones get their defaults."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in output.items() if name in known})


def export(
    store: "Store",
    selection_id: str,
    output: Path,
    *,
    push_to_hub: str | None = None,
    yes: bool = False,
    overwrite: bool = False,
    **how: Any,
) -> dict[str, Any]:
    """Write a selection and its manifest; return what was written and where.

    ``how`` are the fields of `ExportSpec`. ``push_to_hub`` names a dataset repository: the upload is
    described under ``upload``, and done with ``yes``. ``overwrite``: replace an input, or a file that
    is no earlier export.

    Raises `DataError` when the rows do not fit the format asked for, `ConfigError` when the flags
    are incompatible.
    """
    if push_to_hub is not None:
        check_repo(push_to_hub)
    refuse_overwriting(output, input_files(store), has_manifest, overwrite=overwrite)
    written = write_output(store, selection_id, output, ExportSpec(**how), push_to_hub)
    if push_to_hub is not None:
        written["upload"] = upload_plan(output, push_to_hub)
        if yes:
            written["upload"] |= {"uploaded": True, "commit": upload(output, push_to_hub)}
    return written


def write_output(
    store: "Store", selection_id: str, output: Path, how: ExportSpec, repo: str | None = None
) -> dict[str, Any]:
    """Write a selection with its manifest and, in a folder, its card and registration."""
    from curate.data.write.rows import check_output, export_selection
    from curate.data.write.trainers.known import get_trainer

    if how.trainer is not None:
        get_trainer(how.trainer)  # an unknown name is the first thing to say
    record = store.selection(selection_id)
    if record["n_forgotten"]:
        raise DataError(
            f"{record['n_forgotten']} examples of selection {record['selection_id']} have left the "
            "pool since it was made; select again"
        )
    container = check_output(output)
    if container != "folder" and (how.trainer is not None or repo is not None):
        flag = "--push-to-hub" if how.trainer is None else f"--trainer {how.trainer}"
        raise ConfigError(
            f"{flag} writes a folder, but the output is a {container} file; give -o a name without "
            "an extension"
        )
    how, said = _shared(store, record, how)
    options, how = _options(store, record, how)
    folder = _Folder(store, record, output, how, repo)
    is_folder = container == "folder"
    complete = folder.complete if is_folder else folder.describe
    written = export_selection(store, record["selection_id"], output, options, complete)
    manifest, revisions = manifest_path(output), revisions_path(output)
    return {
        "selection_id": record["selection_id"],
        "output": str(output),
        "manifest": str(manifest),
        "n_rows": written.n_rows,
        "n_bytes": written.n_bytes,
        "sha256": written.sha256,
        "splits": dict(written.splits),
        "lost": list(written.lost),
        "n_revised": folder.n_revised,
        "revisions": str(revisions) if folder.n_revised else None,
        "warnings": [*said, *folder.warnings(written)],
    }


def _shared(
    store: "Store", record: Mapping[str, Any], how: ExportSpec
) -> tuple[ExportSpec, list[str]]:
    """Write rows as messages where they cannot share a file as they came, and say so."""
    from curate.data.write.encoders import unlike

    if how.to is not None or how.trainer is not None or len(store.datasets()) == 1:
        return how, []
    ids = store.selection_rows(record["selection_id"])["id"].to_pylist()
    rows = store.first_rows(ids, duplicates=how.keep_duplicates)
    names = set(rows["dataset"].to_pylist())
    datasets = [dataset for dataset in store.datasets() if dataset.dataset_id in names]
    differing = unlike(datasets) if datasets else None
    if differing is None:
        return how, []
    first, other = differing
    said = (
        f"{first.name} and {other.name} have different columns, which cannot share a file unchanged: rows are "
        "written as messages, without their other columns; to choose another format: --to FORMAT"
    )
    return replace(how, to="messages"), [said]


def _options(
    store: "Store", record: Mapping[str, Any], how: ExportSpec
) -> "tuple[ExportOptions, ExportSpec]":
    """Return how to write the rows, and how the manifest records it."""
    from curate.data.write.rows import ExportOptions
    from curate.data.write.trainers.known import format_for, get_trainer

    layout, to = None, how.to or INPUT
    if how.trainer is not None:
        to, layout = format_for(get_trainer(how.trainer), how.to)
    how = replace(how, to=to)
    held_out = frozenset[str]()
    if how.validation is not None:
        held_out = validation_ids(store, record["selection_id"], how.validation, how.seed)
    options = ExportOptions(
        to=to if layout is None else INPUT,  # type: ignore[arg-type]
        order=how.order,
        annotate=how.annotate,
        keep_duplicates=how.keep_duplicates,
        lossy=how.lossy,
        shard_rows=how.shard_rows,
        in_splits=how.trainer is not None or how.validation is not None,
        validation=held_out,
        layout=layout,
        weights=how.trainer is not None and _weighted(store, record["selection_id"]),
    )
    return options, how


def _weighted(store: "Store", selection_id: str) -> bool:
    """Whether the weights of a selection differ."""
    import pyarrow.compute as pc

    return bool(pc.count_distinct(store.selection_rows(selection_id)["weight"]).as_py() > 1)


@final
@dataclass(frozen=True, slots=True)
class _Folder:
    """The files beside the data of one export."""

    store: "Store"
    record: Mapping[str, Any]
    output: Path
    how: ExportSpec
    repo: str | None

    @property
    def trainer(self) -> "Trainer | None":
        from curate.data.write.trainers.known import get_trainer

        return None if self.how.trainer is None else get_trainer(self.how.trainer)

    def complete(self, folder: Path, written: "ExportReport") -> None:
        """Write registration, card and manifest into a folder that is not yet visible."""
        exported = Exported(
            name=re.sub(r"[^A-Za-z0-9_-]+", "_", self.output.resolve().name),
            folder=self._shown_folder(), to=self.how.to or INPUT, splits=written.splits,
            columns=written.columns, repo=self.repo,
        )  # fmt: skip
        files = {} if self.trainer is None else dict(self.trainer.files(exported))
        files["README.md"] = card(self._facts(written, exported))
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        revisions = write_revisions(self.store, self.record["selection_id"], folder / REVISIONS)
        write_manifest(folder, self.document(written, revisions))

    def describe(self, file: Path, written: "ExportReport") -> None:
        """Write manifest and revisions beside a file that is not yet visible.

        In this order an export that was killed can be rerun: its manifest says that it is ours.
        """
        del file
        revisions = write_revisions(
            self.store, self.record["selection_id"], revisions_path(self.output)
        )
        write_manifest(self.output, self.document(written, revisions))

    def _shown_folder(self) -> str:
        """Return the folder of the export as it was typed, or its name, which all lies beside."""
        return self.output.name if self.output.is_absolute() else str(self.output)

    @property
    def n_revised(self) -> int:
        """Responses of the selection that replace those of the input."""
        return int(self.record.get("corrected", {}).get("n_replaced", 0))

    def document(
        self, written: "ExportReport", revisions: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the manifest; the path of the store is relative to the manifest's folder.

        ``revisions`` are the facts of the file of revisions, None without one.
        """
        output = self.output.resolve()
        beside = output if written.container == "folder" else output.parent
        record = portable_record(self.record, beside, self.store.path.parent)
        names = [{**dataset, "name": shown_name(dataset)} for dataset in record["inputs"]]
        return {
            **record,
            "inputs": names,
            "store": os.path.relpath(self.store.path.resolve(), beside),
            "output": {
                "name": self.output.name, "sha256": written.sha256, "n_rows": written.n_rows,
                "n_bytes": written.n_bytes, "container": written.container, **asdict(self.how),
                "splits": dict(written.splits), "lost": list(written.lost),
                **({} if revisions is None else {"revisions": dict(revisions)}),
            },
        }  # fmt: skip

    def warnings(self, written: "ExportReport") -> list[str]:
        """Return what the user should know: remarks on rows, and weights that are not read."""
        lines = tally_lines(written.remarks)
        if self.trainer is not None and "curate_weight" in written.columns:
            lines.append(self._weights())
        return lines

    def _weights(self) -> str:
        assert self.trainer is not None
        return (
            f"{self.trainer.weights}: the column curate_weight is written but not read. "
            f"curate train --selection {self.record['selection_id']} applies the weights"
        )

    def _facts(self, written: "ExportReport", exported: Any) -> Any:
        split = self.how.trainer is not None or self.how.validation is not None
        weights = ""
        if self.trainer is not None:
            weights = f"{self._weights() if 'curate_weight' in written.columns else self.trainer.weights}."
        return CardFacts(
            name=exported.name,
            record=self.record,
            splits=written.splits,
            data_files={
                name: f"{name}/*.parquet" if split else "*.parquet" for name in written.splits
            },
            sha256=written.sha256,
            columns=written.columns,
            sources=self._sources(),
            licences=written.licences,
            lost=written.lost,
            commands=commands_of(self.record, self.how, self.output),
            validation=None if self.how.validation is None else {"seed": self.how.seed},
            usage="" if self.trainer is None else self.trainer.usage(exported),
            weights=weights,
            notes=[*tally_lines(written.remarks), *self._revised()],
        )

    def _revised(self) -> list[str]:
        if not self.n_revised:
            return []
        model = self.record["corrected"]["model"]
        return [
            (
                f"{self.n_revised:,} responses were written by {model} and replace those of the "
                f"input; the originals are in {REVISIONS}"
            )
        ]

    def _sources(self) -> dict[str, int]:
        counts = self.store.read(
            "select e.source, count(*) as n from selection_rows r join examples e using (id) "
            f"where r.selection_id = '{self.record['selection_id']}' group by all order by n desc, 1"
        )
        return dict(zip(counts["source"].to_pylist(), counts["n"].to_pylist(), strict=True))
