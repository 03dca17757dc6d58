"""Training runs and their evaluations: saved beside the parts and in the database."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from curate.errors import ConfigError, DataError
from curate.store.handle import StoreHandle
from curate.store.parts import write_json
from curate.store.records import canonical_json, text_or_json, utc_now


def save(store: StoreHandle, record: Mapping[str, Any], evals: Sequence[Mapping[str, Any]]) -> None:
    """Store a trial; one with the same id is replaced.

    Parameters
    ----------
    record
        At least ``trial_id``; also selection_id, method, budget, seed, model, config, status,
        tokens, wall_s, and whatever else is known.
    evals
        ``step, tokens, target, metric, value`` each.
    """
    if not record.get("trial_id"):
        raise ConfigError(f"a trial needs 'trial_id', got {sorted(record)}")
    full = {"created_at": utc_now(), **record, "evals": [dict(evaluation) for evaluation in evals]}
    with store.write() as con:
        write_json(store.parts / "trials" / f"{record['trial_id']}.json", full)
        insert(con, full)


def insert(con: duckdb.DuckDBPyConnection, record: Mapping[str, Any]) -> None:
    """Write a trial's record (the content of its file) into the database."""
    trial_id = record["trial_id"]
    for table in ("trials", "trial_evals"):
        con.execute(f"delete from {table} where trial_id = ?", [trial_id])
    con.execute(
        "insert into trials values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            trial_id, record.get("selection_id"), record.get("method"),
            text_or_json(record.get("budget")), record.get("seed"), text_or_json(record.get("model")),
            text_or_json(record.get("config")), record.get("status"), record["created_at"],
            record.get("tokens"), record.get("wall_s"), canonical_json(dict(record)),
        ],
    )  # fmt: skip
    for evaluation in record["evals"]:
        con.execute(
            "insert into trial_evals values (?, ?, ?, ?, ?, ?)",
            [
                trial_id,
                *(evaluation[key] for key in ("step", "tokens", "target", "metric", "value")),
            ],
        )


def load(store: StoreHandle, trial_id: str) -> dict[str, Any]:
    """Return a trial's record; raise `DataError` for an unknown id."""
    with store.connect() as con:
        row = con.execute("select manifest from trials where trial_id = ?", [trial_id]).fetchone()
    if row is None:
        raise DataError(f"no trial {trial_id!r} in the store; see: select trial_id from trials")
    return dict(json.loads(row[0]))
