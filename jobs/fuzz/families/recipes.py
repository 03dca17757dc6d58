"""Recipes: documents with any keys and values, anchors that multiply, tags of Python, broken YAML."""

import json
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from curate.api.recipe import load_recipe
from jobs.fuzz.family import READ, Attack, Family
from jobs.fuzz.mutations import changed, damaged, json_bytes, value

_RECIPES: Final = Path(__file__).resolve().parents[2] / "recipes"
_STEPS: Final[dict[str, Any]] = {
    "store": "a.duckdb", "models": {"target": "m"}, "targets": {"dev": ["dev.jsonl"]},
    "steps": [
        {"ingest": {"data": ["a.jsonl"], "columns": {"prompt": "q"}}},
        {"score": {"scorer": "likelihood", "as": "l", "set": {"template": "plain"}}},
        {"select": {"name": "s", "method": "top-k", "budget": "10%", "where": "l.mean_logp > -2"}},
        {"train": {"from": "s", "epochs": 2, "lr": 1e-4, "lora": True, "seed": 3}},
        {"export": {"from": "s", "output": "out.jsonl", "to": "messages"}},
    ],
}  # fmt: skip
_ODD: Final = (
    b"!!python/object/apply:os.system ['touch ran']\n", b"a: &a [*a]\n", b"store: !!binary '='\n",
    b"? [a, b]\n: c\n", b"store: 2026-13-45\n", b"<<: {store: a}\n", b"%YAML 9.9\n---\na: 1\n", b"--- a\n--- b\n",
    b"store: 0x" + b"f" * 5_000, b"store: " + b"9" * 50_000, b"- " * 5_000, b"[" * 50_000, b"a: " * 2_000,
)  # fmt: skip


def _make(rng: Random) -> Attack:
    kind = rng.random()
    if kind < 0.05:
        return Attack(rng.choice(_ODD), "recipe.yaml")
    if kind < 0.08:
        return Attack(_laughing(rng), "recipe.yaml")
    if kind < 0.5:
        document = changed(rng, _STEPS, rng.choice((0.02, 0.1)))
        if rng.random() < 0.2:
            document = {
                "store": "a.duckdb",
                "select": value(rng),
                "pool": value(rng),
                "score": value(rng),
            }
        return Attack(json_bytes(rng, document), "recipe.yaml")  # JSON is YAML
    paths = sorted(_RECIPES.glob("*.yaml"))
    return Attack(damaged(rng, rng.choice(paths).read_bytes()), "recipe.yaml")


def _laughing(rng: Random) -> bytes:
    """Return a list that names a list ten times, which names another: 10^9 items in 300 bytes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    inner = rng.choice(("select: {method: *a9}", "select: {where: *a9}", "pool: {data: *a9}",
                        "models: *a9\nselect: {rank: x}", "targets: {dev: *a9}\nselect: {rank: n_rows}",
                        "select: {rank: n_rows, quota: {source: *a9}, budget: 5}", "store: *a9\nselect: {rank: n_rows}",
                        "steps: *a9", "steps: [select: {rank: n_rows, include: *a9}]"))  # fmt: skip
    known = "\n".join(lines).replace("a0:", "demo: &top\n  a0:", 1).replace("\na", "\n  a")
    if rng.random() < 0.2:
        known = known.replace("*a0, *a0", "{<<: [*a0, *a0]}, *a0")
    return f"{known}\n{inner}\n".encode()


def _read(path: Path, folder: Path) -> str:
    recipe = load_recipe(path, {})
    written = yaml.safe_dump(dict(recipe.resolved), sort_keys=False, allow_unicode=True)
    json.dumps(recipe.resolved, ensure_ascii=False, default=str)
    again = folder / "resolved.yaml"
    again.write_text(written, encoding="utf-8", errors="surrogatepass")
    assert not (Path.cwd() / "ran").exists(), "a recipe ran a command"
    return READ


FAMILY: Final = Family("recipes", _make, _read)
