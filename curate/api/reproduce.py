"""Reproduce an exported subset from its manifest and say whether it is the same."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.api.pool import Pool
from curate.contracts import Procedure, Revise
from curate.contracts.progress import Progress
from curate.contracts.settings import settings_of
from curate.data.write.export import ExportSpec, write_output
from curate.data.write.manifest import exported_path, library_versions, read_manifest
from curate.data.write.overwriting import has_manifest, input_files, refuse_overwriting
from curate.data.write.portable import portable_record
from curate.errors import CurateError, DataError, StoreError
from curate.scoring.again import score_again
from curate.scoring.options import ScoringOptions
from curate.select.marks import METHOD as MARKS
from curate.select.options import SelectOptions
from curate.select.procedures.execute import united
from curate.select.record import quota_of
from curate.select.run import build_method, select
from curate.store.scores.names import MARK

if TYPE_CHECKING:
    from curate.store import Store

MAX_LISTED: Final = 20


def reproduce(
    manifest: Path,
    *,
    store: Path | None,
    output: Path | None,
    rescore: bool,
    workers: int | None,
    progress: Progress,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Select again from the stored scores named in a manifest and compare the rows byte for byte.

    With ``rescore`` the scores are recomputed in a temporary store from the same input files,
    and the ids that flipped are listed. Returns ``identical``, ``differences`` in words,
    ``flipped`` (ids by direction, with ``rescore``), ``output``, ``n_rows`` and both hashes.
    """
    from curate.store import Store

    document = read_manifest(manifest)
    opened = Store(store or manifest.resolve().parent / document["store"], create=False)
    _check_inputs(opened, document)
    document = _with_own_paths(opened, document, manifest.resolve().parent)
    if output is not None:
        refuse_overwriting(output, input_files(opened), has_manifest, overwrite=overwrite)
    flipped: dict[str, list[str]] = {}
    differences = [] if rescore else _changed_scores(opened, document)
    if rescore:
        flipped = _rescore(opened, document, workers, progress)
        differences = _flip_lines(flipped)
    forgotten = _forgotten(opened, document["selection_id"])
    differences = [*forgotten, *differences]
    with tempfile.TemporaryDirectory() as folder:
        target = output or Path(folder) / document["output"]["name"]
        try:
            written = _select_and_export(opened, document, target, progress)
        except CurateError as error:
            if not forgotten:
                raise
            raise StoreError(f"{forgotten[0]}: {error}") from error
        original = exported_path(manifest, document)
        differences += _compare(document, written["sha256"], target, original)
    return {
        "identical": not differences,
        "differences": differences,
        "flipped": flipped,
        "output": str(output or original),
        "n_rows": written["n_rows"],
        "sha256": written["sha256"],
        "expected_sha256": document["output"]["sha256"],
    }


def _with_own_paths(store: "Store", document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a manifest with the paths that the store knows, which manifests do not tell.

    What else a manifest says stays as it is, whatever the store says.
    """
    known = store.read("select selection_id from selections")[0].to_pylist()
    if document["selection_id"] not in known:
        return document
    record = store.selection(document["selection_id"])
    told = portable_record(record, folder, store.path.parent)
    restored: dict[str, Any] = _restored(document, told, record)
    return restored


def _restored(held: Any, told: Any, own: Any) -> Any:
    """Return what is held with the store's ``own`` values where it is what they are told as."""
    if held == told:
        return own
    if isinstance(held, dict) and isinstance(told, dict):
        return {k: _restored(v, told[k], own[k]) if k in told else v for k, v in held.items()}
    return held


def _forgotten(store: "Store", selection_id: str) -> list[str]:
    """Say that examples of a stored selection have been forgotten, if some have."""
    known = store.read("select selection_id from selections")[0].to_pylist()
    n = store.selection(selection_id)["n_forgotten"] if selection_id in known else 0
    if not n:
        return []
    were = "was" if n == 1 else "were"
    return [f"{n:,} of its examples {were} forgotten, so that it cannot be the same"]


def _select_and_export(
    store: "Store", document: Mapping[str, Any], target: Path, progress: Progress
) -> dict[str, Any]:
    with _as_stored(store, document["selection_id"]):
        record = _select_again(store, document, progress)
        how = ExportSpec.of_manifest(document["output"])
        return write_output(store, record["selection_id"], target, how)


@contextmanager
def _as_stored(store: "Store", selection_id: str) -> Iterator[None]:
    """Keep the stored selection: a reproduced one lacks the costs and messages of its procedure."""
    known = selection_id in store.read("select selection_id from selections")[0].to_pylist()
    record = store.selection(selection_id) if known else {}
    rows = store.selection_rows(selection_id) if known else None
    try:
        yield
    finally:
        if rows is not None:
            record.pop("n_forgotten", None)
            store.save_selection(record, rows)


def _select_again(
    store: "Store", document: Mapping[str, Any], progress: Progress
) -> Mapping[str, Any]:
    """Select from stored scores; what a procedure has put together, part by part, nothing trained."""
    from curate.select.procedures.correct.revise import revised

    if "selections" not in document:
        return select(store, _options(document), ScoringOptions(), progress)
    for part in document["selections"]:
        _select_again(store, store.selection(part), progress)
    options = _options(document)
    procedure = build_method(document["method"], options.settings)
    assert isinstance(procedure, Procedure)
    if "revise" in document:
        [kept] = document["selections"]
        return revised(store, procedure, options, Revise(kept, **document["revise"]))
    return united(store, procedure, options, document["selections"])


def _options(document: Mapping[str, Any], bind: bool = True) -> SelectOptions:
    sets = document["score_sets"]
    return SelectOptions(
        method=document.get("made_by", document["method"]),
        budget=document["budget"],
        settings=settings_of(document["config"]),
        seed=document["seed"],
        where=document["where"],
        include=tuple(document["include"]),
        exclude=tuple(document["exclude"]),
        quota=quota_of(document),
        mix=document.get("mix", {}),
        within=document["within"],
        without=tuple(document.get("without", ())),
        datasets=tuple(document["datasets"]),
        bind={alias: score_set["set_id"] for alias, score_set in sets.items()} if bind else {},
        target=document["target"]["name"] if "target" in document else None,
        allow_stale=True,
    )


def _check_inputs(store: "Store", document: Mapping[str, Any]) -> None:
    present = {d.dataset_id for d in store.datasets()}
    for dataset in document["inputs"]:
        if dataset["dataset_id"] not in present:
            raise StoreError(
                f"dataset {dataset['name']!r} (content {dataset['content_hash'][:12]}) of the manifest "
                f"is not in {store.path}; read it again: curate ingest {dataset['name']} "
                f"--store {store.path}"
            )


def _changed_scores(store: "Store", document: Mapping[str, Any]) -> list[str]:
    now = {status.set_id: status.content_hash for status in store.score_sets()}
    lines = _changed_target(store, document)
    for alias, score_set in document["score_sets"].items():
        if score_set["set_id"] not in now:
            scorer = document["specs"][alias]["key"]["scorer"]
            raise StoreError(
                f"score set {score_set['set_id']} ({alias}) is not in {store.path}; recompute it with "
                f"--rescore, or: curate score --scorer {scorer}"
            )
        if now[score_set["set_id"]] != score_set["content_hash"]:
            lines.append(
                f"scores {alias} ({score_set['set_id']}) have content {now[score_set['set_id']]}, "
                f"the manifest says {score_set['content_hash']}"
            )
    return lines


def _changed_target(store: "Store", document: Mapping[str, Any]) -> list[str]:
    if "target" not in document:
        return []
    name, then = document["target"]["name"], document["target"]["content_hash"]
    now = store.target(name).pool_hash()
    return [] if now == then else [f"target {name} has content {now}, the manifest says {then}"]


def _compare(document: Mapping[str, Any], sha256: str, target: Path, original: Path) -> list[str]:
    expected = document["output"]["sha256"]
    lines = []
    if sha256 != expected:
        lines.append(f"reproduced rows have sha256 {sha256}, the manifest says {expected}")
        if original.is_file() and target.is_file():
            lines += _line_differences(original, target)
        versions = library_versions()
        lines += [
            f"{package}: {document['versions'].get(package)} then, {version} now"
            for package, version in versions.items()
            if document["versions"].get(package) != version
        ]
    elif original.is_file() and _sha256(original) != expected:
        lines.append(f"{original} was changed after its export: its sha256 is {_sha256(original)}")
    return lines


def _line_differences(original: Path, target: Path) -> list[str]:
    old, new = original.read_bytes().splitlines(), target.read_bytes().splitlines()
    changed = [i for i, (a, b) in enumerate(zip(old, new, strict=False), 1) if a != b]
    lines = [f"{len(old)} lines originally, {len(new)} now"] if len(old) != len(new) else []
    if changed:
        lines.append(f"{len(changed)} lines differ; the first is line {changed[0]}")
    return lines


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rescore(
    store: "Store", document: Mapping[str, Any], workers: int | None, progress: Progress
) -> dict[str, list[str]]:
    """Rescore everything in a temporary store; return the ids selected only then, and only now."""
    _refuse_trained(document)
    before = set(store.selection_rows(document["selection_id"]).column("id").to_pylist())
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(Path(folder) / "rescore.duckdb", create=True, progress=progress)
        for dataset in store.datasets():
            if dataset.dataset_id in document["datasets"]:
                _read_again(pool, dataset)
        record = _select_rescored(store, document, pool, workers, progress)
        after = set(pool.store.selection_rows(record["selection_id"]).column("id").to_pylist())
    return {"only_then": sorted(before - after), "only_now": sorted(after - before)}


def _data_of(dataset: Any) -> str:
    """Return what a dataset was read from: its file, or what was typed."""
    files = dataset.extra["files"]
    return str(files[0] if len(files) == 1 else dataset.name)


def _read_again(pool: Any, dataset: Any) -> None:
    how = dict(dataset.extra["options"])
    del how["name"]
    reports = pool.ingest(_data_of(dataset), **how)
    if dataset.dataset_id not in {report.dataset_id for report in reports}:
        raise DataError(
            f"{dataset.name!r} has changed since it was read; --rescore needs the same file"
        )


def _add_target_again(store: "Store", pool: Pool, name: str) -> None:
    """Read a target set into another pool, from the files it came from; once."""
    if name in {target.name for target in pool.store.targets()}:
        return
    small = store.target(name)
    datasets = small.datasets()
    how = dict(datasets[0].extra["options"])  # one command has read them all
    del how["name"]
    made = pool.target.add(name, *map(_data_of, datasets), **how).target
    if made.content_hash != small.pool_hash():
        raise DataError(
            f"target set {name!r} has changed since it was read; --rescore needs the same files"
        )


def _refuse_trained(document: Mapping[str, Any]) -> None:
    if "selections" in document or "target" in document.get("procedure", {}):
        raise StoreError(
            f"method {document['method']!r} trains models to select, which --rescore does not repeat; "
            "run its select command on a new store and compare"
        )


def _select_rescored(
    store: "Store",
    document: Mapping[str, Any],
    pool: Pool,
    workers: int | None,
    progress: Progress,
) -> Mapping[str, Any]:
    """Select in another pool as a record says, by scores computed there; first what it was within or without."""
    _refuse_trained(document)

    def again(name: str) -> str:
        record = store.selection(name)
        if record["method"] == MARKS:  # by hand: there is nothing to compute
            record.pop("n_forgotten", None)
            pool.store.save_selection(record, store.selection_rows(record["selection_id"]))
            return str(record["selection_id"])
        return str(_select_rescored(store, record, pool, workers, progress)["selection_id"])

    if "target" in document:
        _add_target_again(store, pool, document["target"]["name"])
    how = ScoringOptions(workers=workers)
    bind = {
        alias: score_again(pool.store, alias.partition(MARK)[0], spec, how, progress)
        for alias, spec in document["specs"].items()
    }
    options = replace(
        _options(document, bind=False),
        bind=bind,
        datasets=tuple(d.dataset_id for d in pool.store.datasets()),
        within=document["within"] and again(document["within"]),
        without=tuple(map(again, document.get("without", ()))),
    )
    return select(pool.store, options, ScoringOptions(), progress)


def _flip_lines(flipped: Mapping[str, list[str]]) -> list[str]:
    lines = []
    for key, words in (
        ("only_then", "selected then, not now"),
        ("only_now", "selected now, not then"),
    ):
        ids = flipped[key]
        if ids:
            more = f" and {len(ids) - MAX_LISTED} more" if len(ids) > MAX_LISTED else ""
            lines.append(f"{len(ids)} {words}: {', '.join(ids[:MAX_LISTED])}{more}")
    return lines
