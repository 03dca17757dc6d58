"""Executes the steps `Generate` and `Judge` part by part, under an id that hashes all their inputs."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import Generate, Judge, LoadContext, Result
from curate.contracts.progress import Progress
from curate.models.load import resolve_device, resolve_dtype, resolve_model
from curate.models.text.templates import METHOD
from curate.select.procedures.correct.parts import read_parts, write_parts
from curate.select.procedures.correct.places import (
    candidates_folder,
    read_note,
    verdicts_folder,
    write_note,
)
from curate.select.procedures.driver import step_to_json
from curate.select.record import LENGTH_ALIAS
from curate.store.records import canonical_json, digest
from curate.train.data import rows_of_selection

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.select.procedures.correct.judge import Pair
    from curate.store import Store
    from curate.train.config import TrainConfig

VERSION: Final = 1  # bump when other texts or numbers come out
FORWARD: Final = 2  # floating-point operations per parameter and token


@final
@dataclass(frozen=True, slots=True)
class Writer:
    """A model that a step has trained: its settings, its folder, and a description."""

    config: "TrainConfig"
    weights: Path
    name: str


def generate(
    store: "Store", step: Generate, writer: Writer, scoring: "ScoringOptions", progress: Progress
) -> Result:
    """Let a trained model answer the prompts of a selection; finished parts are kept."""
    from curate.models.generation.decoding import Sampling
    from curate.select.procedures.correct.candidates import load_answerer

    config = writer.config
    device = config.compute.device
    dtype = resolve_dtype(scoring.dtype, device)
    counted = _length_template(store, step.selection)
    chat = [config.data.chat.key] if config.data.chat.key else []
    candidates_id = _digest([step_to_json(step), dtype, counted, VERSION, *chat])
    folder = candidates_folder(store, candidates_id)
    write_note(folder, {"step": step_to_json(step), "model": writer.name})
    rows = sorted(rows_of_selection(store, step.selection), key=lambda row: row.id)
    table = store.selection_rows(step.selection)
    gains = dict(zip(table["id"].to_pylist(), table["gain"].to_pylist(), strict=True))
    has_adapter = config.method.lora is not None
    base = resolve_model(config.model, revision=config.revision, chat=config.data.chat)
    context = LoadContext(
        device,
        dtype,
        base.path if has_adapter else str(writer.weights),
        adapter=str(writer.weights) if has_adapter else None,
        batch_tokens=scoring.batch_tokens,
        chat=base.chat,
    )
    drawing = Sampling(1, step.max_new_tokens, step.temperature, step.seed)
    write_parts(
        folder, rows,
        lambda: load_answerer(context, config.data.rendering.template, drawing, gains, counted),
        progress, "write candidates",
    )  # fmt: skip
    made, spent = read_parts(folder)
    failed = Counter(reason for reason in made["failure"].to_pylist() if reason is not None)
    facts = {
        "n_rows": made.num_rows,
        "n_written": made.num_rows - failed.total(),
        "failed": dict(sorted(failed.items())),
        **_cost(spent, base.n_parameters),
    }
    return Result(candidates_id, facts)


def judge(store: "Store", step: Judge, scoring: "ScoringOptions", progress: Progress) -> Result:
    """Let a role's own model judge candidates; finished parts are kept."""
    from curate.select.procedures.correct.judge import load_judge

    if scoring.template != METHOD:
        step = replace(step, template=scoring.template)
    own = step.role == "target"
    model = resolve_model(
        scoring.models[step.role],
        revision=scoring.revision if own else None,
        adapter=scoring.adapter if own else None,
        chat=scoring.chat,
    )
    device = resolve_device(scoring.device)
    dtype = resolve_dtype(scoring.dtype, device)
    key = [model.fingerprint, model.tokenizer_hash, model.chat_template_hash,
           model.adapter_fingerprint]  # fmt: skip
    if scoring.chat.key:
        key.append(scoring.chat.key)
    verdicts_id = _digest([step_to_json(step), key, dtype, VERSION])
    folder = verdicts_folder(store, verdicts_id)
    write_note(folder, {"step": step_to_json(step), "model": model.name})
    context = LoadContext(
        device, dtype, model.path, adapter=model.adapter, batch_tokens=scoring.batch_tokens,
        chat=model.chat,
    )  # fmt: skip
    pairs = _pairs(store, step.candidates)
    write_parts(folder, pairs, lambda: load_judge(context, step), progress, "judge candidates")
    made, spent = read_parts(folder)
    masses = made["mass"].drop_null().to_numpy()
    facts = {
        "n_rows": made.num_rows,
        "n_judged": len(masses),
        "mass": float(np.median(masses)) if len(masses) else None,
        **_cost(spent, model.n_parameters),
    }
    return Result(verdicts_id, facts)


def _pairs(store: "Store", candidates: str) -> "list[Pair]":
    from curate.select.procedures.correct.judge import Pair

    folder = candidates_folder(store, candidates)
    selection = read_note(folder)["step"]["selection"]
    examples = {row.id: row.example for row in rows_of_selection(store, selection)}
    return [
        Pair(examples[row["parent_id"]], row["response"], row["failure"])
        for row in read_parts(folder)[0].to_pylist()
    ]


def _length_template(store: "Store", selection: str) -> str | None:
    """Return the template in which a selection's tokens are counted, None where they are not."""
    spec = store.selection(selection)["specs"].get(LENGTH_ALIAS)
    return None if spec is None else str(spec["key"]["config"]["template"])


def _cost(spent: Any, n_parameters: int | None) -> dict[str, float]:
    flops = float(FORWARD * (n_parameters or 0) * spent["tokens"])
    return {"tokens": spent["tokens"], "seconds": spent["seconds"], "flops": flops}


def _digest(document: list[Any]) -> str:
    return digest(canonical_json(document), 8)
