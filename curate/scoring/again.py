"""Scores again, under the same key: what a stored score set says of itself is all it takes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from curate.contracts import Role, RunScorer
from curate.contracts.progress import Progress
from curate.contracts.settings import settings_of
from curate.errors import StoreError
from curate.models.text.masks import TRL
from curate.registry import build, get_scorer
from curate.scoring.backends import AUTO
from curate.scoring.blocks import BLOCK, ROW_BLOCK
from curate.scoring.job import score
from curate.scoring.keys import dtype_of
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import ALONE, PREFIXES, SHARED, ScoreRequest, make_request, request_for
from curate.store.parts import atomic_path
from curate.store.records import IMPORTED_INPUT

if TYPE_CHECKING:
    from curate.store import Store


def score_again(
    store: "Store",
    alias: str,
    spec: Mapping[str, Any],
    how: ScoringOptions,
    progress: Progress,
) -> str:
    """Score a store's pool as another score set was computed; return the id of the set.

    The id is that of the other set where its model is still what it was.

    Parameters
    ----------
    spec
        `ScoreSetStatus.spec` of the other set.
    how
        Workers, device and the failures to tolerate; what decides the scores comes from ``spec``.

    Raises
    ------
    StoreError
        A score that is measured in training, or whose model or template is not on record.
    """
    key, run = spec["key"], spec["run"]
    if IMPORTED_INPUT in key.get("inputs", {}):
        raise StoreError(
            f"score {alias!r} was imported, and nothing here can compute it again; reproduce without --rescore, or "
            "select towards the target by scores that are computed here"
        )
    if issubclass(get_scorer(key["scorer"]), RunScorer):
        raise StoreError(
            f"score {alias!r} was measured while a model was trained, and computing it again, as "
            "--rescore and --target do, trains none; reproduce without --rescore, or select towards "
            "the target by a score that needs no training"
        )
    role: Role = get_scorer(key["scorer"]).role or "target"
    options = ScoringOptions(
        models={role: run["model"]} if run.get("model") else {},
        adapter=run.get("adapter"),
        revision=run.get("revision"),
        dtype=dtype_of(key),
        batch_tokens=run.get("batch_tokens"),
        backend=key.get("backend") or AUTO,
        workers=how.workers,
        device=how.device,
        max_failures=how.max_failures,
        **_chat_again(store, alias, spec),
    )
    config = settings_of(key["config"])
    if "inputs" in run:  # a derived scorer: what it reads comes first
        read = {a: score_again(store, a, s, how, progress) for a, s in run["inputs"].items()}
        scorer, model = build(get_scorer(key["scorer"]), config), run.get("model")
        request = request_for(scorer, alias, model, options, inputs=read)
        return _one_set(store, _cut_as(request, run), options, progress)
    wanted = make_request(store, key["scorer"], alias, config, role, options)
    if wanted is None:
        raise StoreError(
            f"cannot compute score {alias!r} again: what is stored of it names no model; score and "
            f"select again with one: curate score --scorer {key['scorer']} --model MODEL"
        )
    return _one_set(store, _cut_as(wanted, run), options, progress)


def _cut_as(request: ScoreRequest, run: Mapping[str, Any]) -> ScoreRequest:
    """Return a request that cuts the pool as an earlier run did, with the parameters stored of it."""
    shared, block = run.get(PREFIXES) == SHARED, run.get(BLOCK, ROW_BLOCK)
    return replace(request, alone_tokens=run.get(ALONE), share_prefixes=shared, row_block=block)


def _chat_again(store: "Store", alias: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that render conversations as they were; a template's source goes to a file."""
    chat = spec["run"].get("chat")
    if chat is None:
        template, _, choices = (spec["key"].get("template") or "").partition(";")
        if choices:
            raise StoreError(
                f"score {alias!r} was computed with {choices} for template {template}, and what is "
                "stored of it does not hold that; score and select again (and export, for a manifest "
                "that holds it)"
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
        text = chat["template"].encode()
        # Named by what it holds: others may score here, and this file must stay theirs too.
        source = store.path.with_name(f"{blake2b(text, digest_size=8).hexdigest()}.jinja")
        with atomic_path(source) as temporary:
            temporary.write_bytes(text)
        options["chat_template"] = str(source)
    return options


def _one_set(
    store: "Store", request: ScoreRequest, options: ScoringOptions, progress: Progress
) -> str:
    return score(store, [request], options, progress).sets[0].status.set_id
