"""What the records of all selections have in common, whoever makes one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, cast

from curate.contracts import Budget, Procedure, Selector

if TYPE_CHECKING:
    from curate.select.options import SelectOptions
    from curate.store import Store

LENGTH_ALIAS: Final = "length"
QUOTA_OF: Final = "quota_of"
LONG_RATIO: Final = 1.5


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


def shares_of(options: "SelectOptions") -> dict[str, Any]:
    """Return what a record says of a mix, and of what the shares of its quotas are."""
    has_share = any(Budget.parse(text).is_share for text in options.quota.values())
    return {
        **({"mix": dict(options.mix)} if options.mix else {}),
        **({QUOTA_OF: "selection"} if has_share else {}),  # before: of the pool
    }


def quota_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the quotas of a record as they are typed today: shares are of the selection.

    Records of shares of the pool, as shares once were, have them as the numbers they came to.
    """
    quota: dict[str, str] = dict(record["quota"])
    if QUOTA_OF in record:
        return quota
    read = {key: Budget.parse(text) for key, text in quota.items()}
    return {
        key: str(limit.share_of(record["n_pool"])) if limit.is_share else text
        for (key, text), limit in zip(quota.items(), read.values(), strict=True)
    }


def length_warning(ratio: float | None, *, of_all: bool = True) -> list[str]:
    """Warn of picks whose mean length is ``ratio`` times that of what they were chosen from.

    If it is far from 1. ``of_all``: they were chosen from the whole pool.
    """
    if ratio is None or 1 / LONG_RATIO <= ratio <= LONG_RATIO:
        return []
    longer = "longer" if ratio > 1 else "shorter"
    whose = "the pool's" if of_all else "those they were chosen from"
    return [
        (
            f"the selected examples are {longer} than {whose} ({ratio:.2f}x the mean length in tokens): "
            "compare with a random subset of equal tokens, not of equal count"
        )
    ]
