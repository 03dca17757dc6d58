"""Everything known about one example, and exactly what a scorer's pass sees of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from curate.contracts import Example, ForwardScorer
from curate.data.gathered import origins
from curate.errors import ConfigError, idle
from curate.models.load import load_tokenizer
from curate.models.text.render import Renderer
from curate.models.text.show import show
from curate.models.text.templates import METHOD
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import make_request, missing_model

if TYPE_CHECKING:
    from curate.models.text.show import Shown
    from curate.store import Store


def explain(
    store: "Store",
    example: str,
    *,
    scorer: str | None = None,
    model: str | None = None,
    model_for: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    template: str = "method",
    reasoning: str | None = None,
    template_args: str | None = None,
    chat_template: str | None = None,
    mask: str | None = None,
    selections: Sequence[str] = (),
) -> dict[str, Any]:
    """Return an example with its rows, scores, failures and selections.

    ``row`` holds the columns of its first row that are text, numbers or true and false, as ``row.NAME``
    reads them in expressions, without the texts of its turns.
    ``percentiles`` says where its scores rank in the pool, see `Store.percentiles`. Each of
    ``selections`` also says how many were kept and the gain of the last; ``absent`` explains those
    that do not include it, all or only the ``selections`` asked for, see
    `curate.select.why_not.Exclusion`. ``revisions`` are the responses that replace its own in a
    selection, with their confidences. ``gathered`` says of each row that a model wrote which one, how
    it was sampled and what the verifier found, see `curate.data.gathered.Provenance`.

    With ``scorer`` and ``model`` the key ``rendered`` holds, for the scorer's primary segment,
    ``text``, ``token_ids`` and ``response_mask`` (which tokens the score counts), and under
    ``segments`` the same for each of its segments. Raises `DataError` for an unknown or ambiguous
    id, `ConfigError` for a scorer that renders nothing.
    """
    from curate.select.why_not import absences

    if scorer is None:
        _refuse_idle({
            "--model": model, "--model-for": model_for, "--set": settings, "--reasoning": reasoning,
            "--template": None if template == METHOD else template, "--template-args": template_args,
            "--chat-template": chat_template, "--mask": mask,
        })  # fmt: skip
    with store.held():
        document = facts(store, example)
    document["row"] = _own_columns(store, document)
    document["absent"] = [absence.to_json() for absence in absences(store, document, selections)]
    if scorer is None:
        return document
    document["rendered"] = _rendered(
        document,
        store,
        scorer,
        settings or {},
        ScoringOptions(
            models={**({"target": model} if model else {}), **(model_for or {})},
            template=template,
            reasoning=reasoning,
            template_args=template_args,
            chat_template=chat_template,
            mask=mask,
        ),
    )
    return document


def _refuse_idle(given: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for flags that say how a scorer sees an example, where none is named."""
    flags = [flag for flag, value in given.items() if value]
    if flags:
        raise idle(
            flags,
            "{says} how a scorer sees the example, and none is named: add --scorer NAME, or leave {it} out",
        )


def facts(store: "Store", example: str) -> dict[str, Any]:
    """Return an example with what is stored about it: `explain` without anything that must be computed."""
    document = store.example(example)
    document["percentiles"] = store.percentiles(document["id"])
    document["gathered"] = origins(store, document["rows"])
    last = _last(store, [selection["selection_id"] for selection in document["selections"]])
    document["selections"] = [
        {**selection, **last[selection["selection_id"]]} for selection in document["selections"]
    ]
    document["revisions"] = [
        {**revision, "original_response": document["response"]}
        for revision in store.revisions_of(document["id"])
    ]
    return document


def _own_columns(store: "Store", document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an example's first row, without the texts that its turns show anyway."""
    from curate.store.pool.input_values import plain_columns

    first = document["rows"][0]
    shown = {str(message.get("content")).strip() for message in document["messages"]}
    columns = plain_columns(store.parts, first["dataset"], first["position"])
    return {name: value for name, value in columns.items() if str(value).strip() not in shown}


def _last(store: "Store", selections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how many examples selections have, and the gain of the last of each, in one query."""
    from curate.store.connection import literal

    rows = store.read(
        "with sizes as (select selection_id, count(*) as n_selected, max(rank) as last from selection_rows "
        f"where selection_id in ({', '.join(map(literal, selections)) or 'null'}) group by selection_id) "
        "select selection_id, n_selected, gain as last_gain from sizes join selection_rows r "
        "using (selection_id) where r.rank = sizes.last"
    ).to_pylist()
    return {row.pop("selection_id"): row for row in rows}


def _rendered(
    document: Mapping[str, Any],
    store: "Store",
    scorer: str,
    settings: Mapping[str, str],
    options: "ScoringOptions",
) -> dict[str, Any]:
    from curate.select.bind import method_settings

    request = make_request(store, scorer, scorer, method_settings(scorer, settings), None, options)
    if request is None:
        raise ConfigError(missing_model(scorer, options))
    if not isinstance(request.scorer, ForwardScorer) or request.model is None:
        raise ConfigError(
            f"scorer {scorer!r} runs no forward pass, so there is no rendering to show"
        )
    tokenizer = load_tokenizer(request.model.path)
    renderer = Renderer(tokenizer, request.model.max_length, request.model.chat)
    segments = []
    for segment in show(request.scorer, _example(document), renderer):
        segments.append({**asdict(segment), "marked": _marked_rows(tokenizer, segment)})
    first = segments[0]
    return {key: first[key] for key in ("text", "token_ids", "response_mask", "failure")} | {
        "segments": segments
    }


def _example(document: Mapping[str, Any]) -> Example:
    tools = document.get("tools")
    if isinstance(tools, str):
        tools = json.loads(tools)
    listed = tuple(tools) if tools else None
    return Example(document["id"], tuple(document["messages"]), listed, document.get("input_at"))


def _marked_rows(tokenizer: Any, shown: "Shown") -> str:
    """Return the marked text of each row, under its number where there are several."""
    ids, mask = shown.token_ids, shown.response_mask
    edges = pairwise([*shown.row_starts, len(ids)])
    rows = [_marked(tokenizer, ids[start:stop], mask[start:stop]) for start, stop in edges]
    if len(rows) == 1:
        return rows[0]
    return "\n".join(f"row {n} of {len(rows)}:\n{row}" for n, row in enumerate(rows, 1))


def _marked(tokenizer: Any, ids: Sequence[int], mask: Sequence[bool]) -> str:
    """Return the text with runs of scored tokens between brackets."""
    pieces = []
    for scored, run in groupby(zip(ids, mask, strict=True), key=itemgetter(1)):
        text = tokenizer.decode([token for token, _ in run])
        pieces.append(f"⟦{text}⟧" if scored else text)
    return "".join(pieces)
