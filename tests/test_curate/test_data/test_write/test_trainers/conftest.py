"""A pool of a few rows, all of them selected, exported for a trainer."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import curate as cu

Made = Callable[..., dict[str, Any]]

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def pairs(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Say {i}.", "response": f"{i} it is"} for i in range(n)]


def chat(*contents: str, system: str | None = None) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return {"messages": [{"role": "system", "content": system}] * bool(system) + turns}


def with_tools() -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": "1 and 2?"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "3", "tool_call_id": "c1"},
            {"role": "assistant", "content": "3"},
        ],
        "tools": TOOLS,
    }


@pytest.fixture
def kit() -> SimpleNamespace:
    """Rows to export."""
    return SimpleNamespace(pairs=pairs, chat=chat, with_tools=with_tools, TOOLS=TOOLS)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Export rows to the folder ``subset``; return the report. ``rows`` replace those before."""

    def make(rows: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
        path = tmp_path / "pool.jsonl"
        store = tmp_path / "curate.duckdb"
        if rows is not None:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        pool = cu.open(store, create=True)
        chosen = pool.select(rank="n_chars", budget="100%", data=[str(path)])
        output = options.pop("output", tmp_path / "subset")
        return pool.export(chosen.id, output, **options)

    return make
