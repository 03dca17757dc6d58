"""Reproduce an exported subset from its manifest and say whether it is the same."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.api.pool import Pool
from curate.contracts import Procedure, Revise, Role, RunScorer
from curate.contracts.progress import Progress
from curate.contracts.settings import settings_of
from curate.data.write.export import ExportSpec, write_output
from curate.data.write.manifest import exported_path, library_versions, read_manifest
from curate.data.write.overwriting import has_manifest, input_files, refuse_overwriting
from curate.errors import DataError, StoreError
from curate.models.text.masks import TRL
from curate.registry import build, get_scorer
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import make_request, request_for
from curate.select.options import SelectOptions
from curate.select.procedures.execute import united
from curate.select.run import build_method, select

if TYPE_CHECKING:
    from curate.scoring.requests import ScoreRequest
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
    if output is not None:
        refuse_overwriting(output, input_files(opened), has_manifest, overwrite=overwrite)
    flipped: dict[str, list[str]] = {}
    differences = [] if rescore else _changed_scores(opened, document)
    if rescore:
        flipped = _rescore(opened, document, workers, progress)
        differences = _flip_lines(flipped)
    with tempfile.TemporaryDirectory() as folder:
        target = output or Path(folder) / document["output"]["name"]
        written = _select_and_export(opened, document, target, progress)
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
    known = selection_id in store.query("select selection_id from selections")[0].to_pylist()
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
        quota=document["quota"],
        within=document["within"],
        without=tuple(document.get("without", ())),
        datasets=tuple(document["datasets"]),
        bind={alias: score_set["set_id"] for alias, score_set in sets.items()} if bind else {},
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
    lines = []
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
    if "selections" in document:
        raise StoreError(
            f"method {document['method']!r} trains models to select, which --rescore does not repeat; "
            "run its select command on a new store and compare"
        )
    before = set(store.selection_rows(document["selection_id"]).column("id").to_pylist())
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(Path(folder) / "rescore.duckdb", progress=progress)
        for dataset in store.datasets():
            if dataset.dataset_id in document["datasets"]:
                _read_again(pool, dataset)
        bind = {
            alias: _score_again(pool.store, alias, spec, workers, progress)
            for alias, spec in document["specs"].items()
        }
        record = _select_bound(pool.store, document, bind, progress)
        after = set(pool.store.selection_rows(record["selection_id"]).column("id").to_pylist())
    return {"only_then": sorted(before - after), "only_now": sorted(after - before)}


def _read_again(pool: Any, dataset: Any) -> None:
    how = dict(dataset.extra["options"])
    del how["name"]
    files = dataset.extra["files"]
    reports = pool.ingest(files[0] if len(files) == 1 else dataset.name, **how)
    if dataset.dataset_id not in {report.dataset_id for report in reports}:
        raise DataError(
            f"{dataset.name!r} has changed since it was read; --rescore needs the same file"
        )


def _score_again(
    store: "Store", alias: str, spec: Mapping[str, Any], workers: int | None, progress: Progress
) -> str:
    key, run = spec["key"], spec["run"]
    if issubclass(get_scorer(key["scorer"]), RunScorer):
        raise StoreError(
            f"score {alias!r} was measured while a model was trained, and --rescore trains none; "
            "reproduce without --rescore, or record it again in another store"
        )
    role: Role = get_scorer(key["scorer"]).role or "target"
    options = ScoringOptions(
        models={role: run["model"]} if run.get("model") else {},
        adapter=run.get("adapter"),
        revision=run.get("revision"),
        dtype=key.get("dtype") or "auto",
        batch_tokens=run.get("batch_tokens"),
        workers=workers,
        **_chat_again(store, alias, spec),
    )
    config = settings_of(key["config"])
    if "inputs" in run:  # a derived scorer: what it reads comes first
        read = {a: _score_again(store, a, s, workers, progress) for a, s in run["inputs"].items()}
        scorer, model = build(get_scorer(key["scorer"]), config), run.get("model")
        request = request_for(scorer, alias, model, options, inputs=read)
        return _one_set(store, request, options, progress)
    wanted = make_request(store, key["scorer"], alias, config, role, options)
    if wanted is None:
        raise StoreError(f"cannot score {alias!r} again: its model is not in the manifest")
    return _one_set(store, wanted, options, progress)


def _chat_again(store: "Store", alias: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that render conversations as they were; a template's source goes to a file."""
    chat = spec["run"].get("chat")
    if chat is None:
        template, _, choices = (spec["key"].get("template") or "").partition(";")
        if choices:
            raise StoreError(
                f"score {alias!r} was computed with {choices} for template {template}, which its "
                "manifest does not hold; score, select and export again for one that does"
            )
        return {}
    arguments = json.loads(chat["arguments"])
    options = {
        "reasoning": chat["reasoning"],
        "template_args": ",".join(f"{k}={json.dumps(v)}" for k, v in arguments.items()) or None,
        "mask": chat.get("mask"),
    }
    if chat.get("from_trl"):
        options["template"] = TRL
    elif chat["template"] is not None:
        source = store.path.with_name(f"{alias}.jinja")
        source.write_text(chat["template"], encoding="utf-8")
        options["chat_template"] = str(source)
    return options


def _one_set(
    store: "Store", request: "ScoreRequest", options: "ScoringOptions", progress: Progress
) -> str:
    from curate.scoring.job import score

    return score(store, [request], options, progress).sets[0].status.set_id


def _select_bound(
    store: "Store", document: Mapping[str, Any], bind: Mapping[str, str], progress: Progress
) -> dict[str, Any]:
    datasets = tuple(d.dataset_id for d in store.datasets())
    options = replace(_options(document, bind=False), bind=dict(bind), datasets=datasets)
    return select(store, options, ScoringOptions(), progress)


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
