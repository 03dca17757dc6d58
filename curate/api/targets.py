"""The target sets of a pool, as notebooks and scripts use them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, final

from curate.api.commands.groups import OnError
from curate.api.commands.option import from_keywords
from curate.api.commands.target import TargetCommand

if TYPE_CHECKING:
    import polars as pl

    from curate.api.pool import Pool
    from curate.data.read.target import TargetReport


@final
@dataclass(frozen=True, slots=True)
class PoolTargets:
    """Sets of examples to select towards. They are scored like the pool and never enter it."""

    pool: "Pool"

    def __repr__(self) -> str:
        names = ", ".join(target.name for target in self.pool.store.targets())
        return f"PoolTargets({names or 'none'})"

    def __getitem__(self, name: str) -> "Pool":
        """Return a target set as a pool of its own, to look at its texts and scores."""
        return type(self.pool)(
            self.pool.store.target(name).path, create=False, progress=self.pool.progress
        )

    def add(
        self, name: str, *data: Any, limit: int | None = None, format: str = "auto",
        split: str = "train", source: str | None = None, columns: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None, on_error: OnError = "fail",
    ) -> "TargetReport":  # fmt: skip
        """Read 1 to 100,000 examples as a target set; its overlap with the pool is counted.

        The options are those of `Pool.ingest`. Raises `DataError` for data that cannot be read or
        holds nothing, and `ConfigError` for a name that other data has.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        return from_keywords(TargetCommand, {"action": "add", **given}).add(self.pool)

    def list(self) -> "pl.DataFrame":
        """Return the target sets as a frame: name, n_rows, n_examples, n_in_pool, ..."""
        import polars as pl

        from curate.store.targets import TargetSet

        types: dict[Any, Any] = {int: pl.Int64, str: pl.String}
        schema = {column.name: types[column.type] for column in fields(TargetSet)}
        return pl.DataFrame([asdict(target) for target in self.pool.store.targets()], schema)

    def remove(self, name: str) -> None:
        """Remove a target set with its texts and scores; `ConfigError` for an unknown name."""
        self.pool.store.remove_target(name)
