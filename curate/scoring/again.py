"""Scores again, under the same key: what a stored score set says of itself is all it takes."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curate.contracts import Role, RunScorer
from curate.contracts.progress import Progress
from curate.contracts.settings import settings_of
from curate.errors import StoreError
from curate.models.text.masks import TRL
from curate.registry import build, get_scorer
from curate.scoring.job import score
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import ScoreRequest, make_request, request_for

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
    store: "Store", request: ScoreRequest, options: ScoringOptions, progress: Progress
) -> str:
    return score(store, [request], options, progress).sets[0].status.set_id
