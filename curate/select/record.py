"""What the records of all selections have in common, whoever makes one."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, cast

from curate.contracts import Procedure, Selector

if TYPE_CHECKING:
    from curate.store import Store

LENGTH_ALIAS: Final = "length"


def inputs_of(store: "Store", datasets: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a record says about the datasets it was made from."""
    wanted = set(datasets)
    return [
        {
            "dataset_id": d.dataset_id, "name": d.name, "content_hash": d.content_hash,
            "container": d.container, "format": d.format, "split": d.split, "n_rows": d.n_rows,
        }
        for d in store.datasets()
        if d.dataset_id in wanted
    ]  # fmt: skip


def config_of(method: Procedure | Selector) -> dict[str, Any]:
    """Return the fields of a method as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(cast(Any, method)), default=str))
    return plain
