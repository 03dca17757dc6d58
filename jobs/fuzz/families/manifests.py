"""Manifests and documents of proofs: as they are written, then changed, damaged and misnamed."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from curate.api.proof import Proof
from curate.api.reproduce import reproduce
from curate.contracts.progress import SilentProgress
from curate.data.write.manifest import exported_path, read_manifest
from jobs.fuzz.family import READ, Attack, Family
from jobs.fuzz.mutations import TEXTS, changed, damaged, json_bytes

_WHOLE: Final = 16  # of as many manifests that can be read, one is reproduced
_PROOF: Final[Mapping[str, Any]] = {
    "model": "m", "n_pool": 10, "budgets": ["10%"], "seeds": 3, "targets": {"dev": 4}, "plan": {"n_trials": 6},
    "results": [], "slices": [], "selections": {}, "overlap": [], "costs": {}, "statements": ["a"],
}  # fmt: skip


@cache
def _store() -> tuple[Path, bytes]:
    """Return a folder with a store and an export, and the manifest of that; made once a process."""
    import curate as cu

    folder = Path(tempfile.mkdtemp(prefix="curate-fuzz-"))
    rows = [{"prompt": f"Say {i}.", "response": "so" * i + "."} for i in range(1, 7)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(folder / "pool.jsonl"))
    pool.select(rank="n_chars", budget=3).export(folder / "subset.jsonl")
    return folder, (folder / "subset.jsonl.manifest.json").read_bytes()


def _make(rng: Random) -> Attack:
    if rng.random() < 0.25:
        content = json_bytes(rng, changed(rng, dict(_PROOF), 0.1))
        return Attack(damaged(rng, content) if rng.random() < 0.3 else content, "proof.json")
    document = json.loads(_store()[1])
    if rng.random() < 0.5:
        place = rng.choice((document, document["output"], document["inputs"][0]))
        place[rng.choice(list(place))] = rng.choice(TEXTS)
    content = json_bytes(rng, changed(rng, document, rng.choice((0.0, 0.01, 0.05))))
    return Attack(
        damaged(rng, content) if rng.random() < 0.2 else content, "subset.jsonl.manifest.json"
    )


def _read(path: Path, folder: Path) -> str:
    if path.name == "proof.json":
        proof = Proof.read(path)
        repr(proof), proof._repr_html_()
        return READ
    document = read_manifest(path)
    exported_path(path, document)
    if path.stat().st_size % _WHOLE == 0:
        home = _store()[0]
        before = {name for name in home.iterdir() if name.suffix != ".wal"}
        theirs = home / path.name
        shutil.copy(path, theirs)
        try:
            reproduce(
                theirs, store=home / "curate.duckdb", output=None, rescore=False, workers=None,
                progress=SilentProgress(),
            )  # fmt: skip
        finally:
            theirs.write_bytes(_store()[1])
        after = {name for name in home.iterdir() if name.suffix != ".wal"}
        assert after == before, f"it wrote {sorted(map(str, after - before))}"
    return READ


FAMILY: Final = Family("manifests", _make, _read)
