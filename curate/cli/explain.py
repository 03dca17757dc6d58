"""Show one example: its text, scores and selections, and exactly what a scorer's pass sees."""

import json
from typing import Any, Final

from curate.api.commands.groups import Shell
from curate.api.commands.others import ExplainCommand
from curate.api.pool import Pool
from curate.cli.console import emit, table
from curate.cli.options import from_options
from curate.contracts.display import counted

MAX_IDS: Final = 5  # ids of the input rows that are named


@from_options(ExplainCommand)
def command(options: ExplainCommand, shell: Shell) -> None:
    """Print everything known about the example."""
    document = Pool(shell.store, create=False).explain(
        options.example,
        scorer=options.scorer,
        model=options.model,
        model_for=options.model_for,
        settings=options.settings,
        template=options.template,
        reasoning=options.reasoning,
        template_args=options.template_args,
        chat_template=options.chat_template,
        mask=options.mask,
        selections=options.selections,
    )
    emit(document, shell.as_json, _text(document))


def _text(d: dict[str, Any]) -> str:
    ids = dict.fromkeys(row["external_id"] for row in d["rows"] if row["external_id"] is not None)
    named = f" ({', '.join(list(ids)[:MAX_IDS])})" if ids else ""
    rows = f"{counted(d['n_rows'], 'row')}{named}"
    facts = f"source {d['source']}, {rows}, {d['n_chars']:,} characters"
    parts = [f"{d['id']}\n{facts}\ninstruction group {d['group_id']}"]
    parts += [_turn(message) for message in d["messages"]]
    parts += [_origin(one) for one in d["gathered"]]
    if d["row"]:
        own = [(f"row.{name}", _short(value)) for name, value in d["row"].items()]
        parts.append(table(("column", "value"), own, "first row"))
    scores = [
        (alias, column, _short(value), d["percentiles"].get(alias, {}).get(column))
        for alias, row in d["scores"].items()
        for column, value in row.items()
    ]
    if scores:
        columns = ("alias", "column", "value", "percentile in the pool")
        parts.append(table(columns, scores, "scores"))
    if d["failures"]:
        failed = [(f["set_id"], f["reason"]) for f in d["failures"]]
        parts.append(table(("score set", "reason"), failed, "not scored"))
    shown = [selection for selection in d["selections"] if not selection["internal"]]
    if shown:
        taken = [
            (
                s["selection_id"], s["method"], f"{s['rank']:,} of {s['n_selected']:,}", s["gain"],
                s["last_gain"], s["reason"],
            )
            for s in shown
        ]  # fmt: skip
        head = ("selection", "method", "rank", "gain", "last one's gain", "reason")
        parts.append(table(head, taken, "selected"))
    n_hidden = len(d["selections"]) - len(shown)
    if n_hidden:
        parts.append(
            f"also in {counted(n_hidden, 'selection')} that proofs and procedures made (--json lists them)"
        )
    parts += [
        f"revised in selection {revision['selection_id']} ({revision['method']}): confidence "
        f"{revision['parent_confidence']:.4f} before, {revision['confidence']:.4f} "
        f"that the new one is better (consistency {revision['consistency']:.4f}, "
        f"reflection {revision['reflection']:.4f})\n"
        f"  before: {revision['original_response']}\n  now:    {revision['response']}\n"
        f"  id {revision['id']}, written by {revision['model']}"
        for revision in d["revisions"]
    ]
    if d["absent"]:
        why = [
            (absence["selection_id"], absence["method"], absence["text"]) for absence in d["absent"]
        ]
        parts.append(table(("selection", "method", "why not"), why, "not selected"))
    if "rendered" in d:
        parts += [_segment(shown) for shown in d["rendered"]["segments"]]
    return "\n\n".join(parts)


def _origin(one: dict[str, Any]) -> str:
    """Say who wrote a gathered response, how, and what its verifier found."""
    model = one["model"] + (f" as {one['served_model']}" if one["served_model"] else "")
    equal = f", {one['n_equal']} of them this text" if one["n_equal"] > 1 else ""
    checked = f"\n  verifier {one['verifier']}: {one['verdict'] or 'not checked'}" * bool(
        one["verifier"]
    )
    return (
        f"gathered from {model}: sample {one['sample'] + 1} of {one['k']}{equal}, "
        f"{counted(one['n_tokens'], 'token')} of at most {one['max_new_tokens']}, temperature "
        f"{one['temperature']:g}, seed {one['seed']}, template {one['template']}, to the prompt of "
        f"{one['prompt_of']}{checked}"
    )


def _segment(shown: dict[str, Any]) -> str:
    """Return what a pass sees of a segment, or why it sees nothing."""
    if shown["failure"]:
        return f"{shown['segment']}: not scored: {shown['failure']}"
    n_scored, n_tokens = sum(shown["response_mask"]), len(shown["token_ids"])
    return (
        f"{shown['segment']}: {n_scored} of {n_tokens} tokens scored, between the brackets\n"
        f"{shown['marked']}"
    )


def _short(value: object) -> object:
    """Return a value that fits a table: of a vector or trajectory only its length."""
    return f"{len(value)} numbers" if isinstance(value, list) else value


def _turn(message: dict[str, Any]) -> str:
    """Return everything that a turn says, each after its role: reasoning, text, calls of tools."""
    role, content, reasoning = (
        message["role"],
        message.get("content"),
        message.get("reasoning_content"),
    )
    calls = [f"[{role}, call] {_call(call)}" for call in message.get("tool_calls") or ()]
    said = [f"[{role}, reasoning] {reasoning}"] if reasoning else []
    if content or not (said or calls):
        said.append(f"[{role}] {content if isinstance(content, str) else _json(content)}")
    return "\n".join([*said, *calls])


def _call(call: dict[str, Any]) -> str:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    shown = arguments if isinstance(arguments, str) else _json(arguments)
    return f"{function.get('name')}({shown})" if function.get("name") else _json(call)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
