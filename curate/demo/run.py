"""The demo: the whole product on a generated pool, what each method kept, and a proof."""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.api.pool import Pool, StoredSelection
from curate.contracts.progress import Progress
from curate.demo.methods import ROLES, chosen_methods, settings_for
from curate.demo.model import ensure_model
from curate.demo.pool import PoolRow, write_pool, write_test_split
from curate.demo.summary import OWN
from curate.demo.table import POOL, kept_table
from curate.errors import ConfigError
from curate.prove.config import BASELINES

if TYPE_CHECKING:
    from curate.store import Store

METHODS: Final = ("grape", "ifd", "random")
SCORERS: Final = ("likelihood", "ifd", "length")
PROOF: Final = "proof.md"
PROOF_TOKENS: Final = 20_000  # about one epoch of what GRAPE keeps
PROOF_TRAIN: Final[Mapping[str, Any]] = {"optimiser.lr": 3e-4, "data.batch_tokens": 1_000}
_OURS: Final = ("pool.jsonl", "test.jsonl", "curate.duckdb", "curate.parts", "model", PROOF,
                "proof.json")  # fmt: skip


def run_demo(
    folder: Path, seed: int, progress: Progress, *, everything: bool = False
) -> dict[str, Any]:
    """Build the pool, train (or reuse) the tiny model, score, select, export, compare, and prove.

    Everything goes into ``folder``, which may hold an earlier demo and nothing else. Every method
    gets as many examples as GRAPE keeps by itself: one per instruction. The proof trains the tiny
    model on each subset and on random ones, five seeds each, and measures it on held-out tasks;
    with ``everything`` it compares every registered method that the demo has a model for, and
    ``left_out`` says why it leaves out the others.
    """
    began = time.perf_counter()
    _prepare(folder)
    rows = write_demo(folder, progress, seed)
    model = folder / "model"
    pool = Pool(folder / "curate.duckdb", create=True, progress=progress)
    pool.ingest(str(folder / "pool.jsonl"))
    progress.note(
        f"{OWN}{len(pool):,} examples in {folder}, questions with several answers, a fifth of them wrong; "
        "and a model of 700,000 parameters, trained on this machine"
    )
    scores = pool.score(*SCORERS, model=str(model))
    scores.raise_for_failures()
    selections: dict[str, StoredSelection] = {}
    for method in METHODS:
        budget = len(selections["grape"]) if selections else None
        selections[method] = pool.select(method, budget=budget, model=str(model), seed=seed)
        selections[method].export(folder / f"{method}.jsonl")
    methods, left_out = (
        chosen_methods() if everything else ([m for m in METHODS if m not in BASELINES], {})
    )
    progress.note(
        f"{OWN}scored once, selected {len(selections['grape']):,} each by {', '.join(METHODS)}; now trains "
        "on each and measures on held-out tasks"
    )
    proof = _prove(pool, folder, len(selections["grape"]), methods, everything)
    return {
        "store": str(folder / "curate.duckdb"),
        "model": str(model),
        "n_examples": len(pool),
        "score_sets": scores.as_dict()["score_sets"],
        "outputs": {name: chosen.document["output"] for name, chosen in selections.items()},
        "kept": _kept(pool, rows, selections),
        "proof": proof,
        "left_out": left_out,
        "page": str(folder / PROOF),
        "wall_s": round(time.perf_counter() - began, 1),
    }


def write_demo(folder: Path, progress: Progress, seed: int = 0) -> list[PoolRow]:
    """Write the generated pool, the held-out tasks and the tiny model into a folder.

    ``pool.jsonl``, ``test.jsonl`` and ``model``; the model is trained first where this machine has
    none. Other files of the folder stay as they are. Returns the rows of the pool.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = write_pool(folder / "pool.jsonl", seed)
    write_test_split(folder / "test.jsonl", seed)
    shutil.copytree(ensure_model(progress), folder / "model", dirs_exist_ok=True)
    return rows


def _prove(
    pool: Pool, folder: Path, budget: int, methods: list[str], everything: bool
) -> dict[str, Any]:
    """Compare the methods with random on the held-out tasks; the page goes beside the subsets."""
    from curate.views.report.proofs.files import write_proof

    model = str(folder / "model")
    document = pool.prove(
        *methods,
        budget=budget,
        target=str(folder / "test.jsonl"),
        model=model,
        model_for={role: model for role in ROLES[1:]} if everything else None,
        max_tokens=PROOF_TOKENS,
        settings={**PROOF_TRAIN, **settings_for(methods)},
    )
    write_proof(document, folder / PROOF)
    return document


def _prepare(folder: Path) -> None:
    """Create the folder; refuse one with other files, and remove the store of an earlier demo."""
    if folder.exists():
        exports = {f"{method}.jsonl" for method in METHODS}
        known = {*_OURS, *exports, *(f"{name}.manifest.json" for name in exports)}
        foreign = sorted(path.name for path in folder.iterdir() if path.name not in known)
        if foreign:
            raise ConfigError(
                f"{str(folder)!r} holds {foreign[0]!r}, which is not part of the demo; "
                "give an empty or new folder: --dir FOLDER"
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curate.duckdb").unlink(missing_ok=True)
    shutil.rmtree(folder / "curate.parts", ignore_errors=True)


def _kept(
    pool: Pool, rows: Sequence[PoolRow], selections: dict[str, StoredSelection]
) -> list[dict[str, Any]]:
    kept = {method: _row_ids(pool.store, rows, chosen) for method, chosen in selections.items()}
    everything = pool.sql(
        "select sum(length.prompt_tokens + length.response_tokens) as n from scores"
    )
    tokens = {method: int(chosen.document["n_tokens"]) for method, chosen in selections.items()}
    return kept_table(rows, kept, {POOL: int(everything["n"][0]), **tokens})


def _row_ids(store: "Store", rows: Sequence[PoolRow], chosen: StoredSelection) -> list[str]:
    ids = chosen.rows().column("id").to_pylist()
    positions = store.first_rows(ids).column("position").to_pylist()
    return [rows[position].id for position in positions]
