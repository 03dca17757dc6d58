"""The file beside an export with revised responses: what each one replaced, and why."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from curate.store import Store

REVISIONS: Final = "revisions.jsonl"


def revisions_path(output: Path) -> Path:
    """Return where the revisions of an export go: beside a file, inside a folder."""
    return output / REVISIONS if output.is_dir() else output.with_name(f"{output.name}.{REVISIONS}")


def write_revisions(store: "Store", selection_id: str, path: Path) -> dict[str, Any] | None:
    """Write one line per revised response, best first; return the file's facts, None if there are none.

    Keys: ``curate_id`` (of the revised example), ``curate_parent_id`` (of the example in the pool,
    which ``--annotate`` calls ``curate_id``), ``response`` and ``curate_original_response``;
    ``curate_confidence`` of the verdict, its parts ``curate_consistency`` and
    ``curate_reflection``, the original's ``curate_parent_confidence``, and ``curate_model``, which
    wrote the response.
    """
    from curate.store.parts import atomic_path

    rows = store.revisions(selection_id).to_pylist()
    if not rows:
        path.unlink(missing_ok=True)  # of an earlier export to the same place
        return None
    originals = _originals(store, selection_id)
    lines = [_line(row, originals[row["parent_id"]]) for row in rows]
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return {"name": path.name, "n_rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}


def _line(row: Mapping[str, Any], original: str) -> str:
    document = {
        "curate_id": row["id"],
        "curate_parent_id": row["parent_id"],
        "response": row["response"],
        "curate_original_response": original,
        "curate_parent_confidence": row["parent_confidence"],
        "curate_confidence": row["confidence"],
        "curate_consistency": row["consistency"],
        "curate_reflection": row["reflection"],
        "curate_model": row["model"],
    }
    return json.dumps(document, ensure_ascii=False)


def _originals(store: "Store", selection_id: str) -> dict[str, str]:
    full_id = store.selection(selection_id)["selection_id"]
    originals = store.read(
        "select e.id, e.response from revisions r join examples e on e.id = r.parent_id "
        f"where r.selection_id = '{full_id}'"
    )
    return dict(zip(originals["id"].to_pylist(), originals["response"].to_pylist(), strict=True))
