"""Opens a store whatever version wrote it: one of an earlier schema is built anew from its parts first."""

import logging
from typing import Final

from curate.errors import StoreError
from curate.store import locks, schema
from curate.store.connection import connect
from curate.store.handle import StoreHandle
from curate.store.upkeep import opening, rebuild

_CLAIM: Final = ".upgrade.claim"
_logger = logging.getLogger(__name__)


def opened(store: StoreHandle, *, create: bool) -> None:
    """Make sure the store exists, is complete and is of this version's schema.

    The DuckDB file of an earlier schema is replaced by one built from the parts, as by
    ``curate doctor --rebuild``; what it was is kept beside it, with the ending ``.schema-1``
    for schema 1. A process that is killed meanwhile leaves the old file in its place, and the next one
    begins again. Costs a reading of all ids and scores, once.

    Raises `StoreError` as `opening.open_store` does, and where another process upgrades the store.
    """
    try:
        opening.open_store(store, create=create)
    except opening.OlderSchema as older:
        if store.is_read_only:
            raise
        with locks.claimed(store.parts / _CLAIM) as is_ours:
            if not is_ours:
                raise StoreError(
                    f"another process upgrades {store.path} to schema {schema.SCHEMA_VERSION}; wait until it "
                    "is done, and run the same command again"
                ) from None
            _upgrade(store, older.version)
        opening.open_store(store, create=False)


def _upgrade(store: StoreHandle, version: int) -> None:
    with connect(store.path, store.spill, store.wait_s) as con:
        if schema.meta(con, "schema_version") != str(version):
            return  # another process did it between the look and the claim
        known = opening.manifests(con)
    opening.write_missing_manifests(store, known)
    kept = f"schema-{version}"
    left_out = rebuild.rebuild(store.path, wait_s=store.wait_s, kept=kept)["left_out"]
    unread = f"; what could not be read is left out: {', '.join(left_out)}" if left_out else ""
    _logger.warning(
        "upgraded %s from schema %d to %d; the file as it was is kept as %s.%s%s",
        store.path, version, schema.SCHEMA_VERSION, store.path.name, kept, unread,
    )  # fmt: skip
