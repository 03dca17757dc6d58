"""SQL: what somebody typed reads the store and nothing else; what the product asks is trusted."""

from collections.abc import Sequence
from typing import Final

import duckdb
import pyarrow as pa

from curate.errors import ConfigError
from curate.store.handle import StoreHandle

_KINDS: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_RELATIONS: Final = (
    "examples, rows, score_sets, scores, score_set('ID'), vectors, failures, selections, "
    "selection_rows, revisions, trials, trial_evals, targets, shard_runs"
)


def run(store: StoreHandle, sql: str) -> pa.Table:
    """Run one read-only statement over the documented relations; return a copy in Arrow.

    It runs in a read-only transaction, without access to files outside the folder of parts. EXPLAIN
    ANALYZE is refused: it runs the statement it explains.

    Raises
    ------
    ConfigError
        Anything but a single SELECT (or DESCRIBE, SHOW, EXPLAIN); a statement that would change
        something or read another file; one that DuckDB cannot run.
    """
    if any("\ud800" <= character <= "\udfff" for character in sql):
        raise ConfigError(f"cannot run {sql!r}: it has half a character; write text in UTF-8")
    with store.connect_to_read() as con:
        try:
            if not _only_reads(con.extract_statements(sql), sql):
                raise ConfigError(
                    f"only one read-only statement is allowed, got {sql!r}; write a SELECT"
                )
            table: pa.Table = con.sql(sql).to_arrow_table()
        except duckdb.PermissionException as error:
            raise ConfigError(
                f"{sql!r} reads something outside the store ({_first_line(error)}); a query may read "
                f"{_RELATIONS}; open other files with polars or a DuckDB connection of your own"
            ) from error
        except duckdb.TransactionException as error:
            if "read-only mode" not in str(error):
                raise ConfigError(f"cannot run {sql!r}: {error}") from error
            raise ConfigError(
                f"{sql!r} would change the store, and a query may only read; write a SELECT over "
                f"{_RELATIONS}; to remove examples: curate forget --where EXPR"
            ) from error
        except (duckdb.ProgrammingError, duckdb.DataError) as error:
            raise ConfigError(f"cannot run {sql!r}: {error}") from error
    return table


def read(store: StoreHandle, sql: str) -> pa.Table:
    """Run a query of the product's own, over any relation of the store; return a copy in Arrow.

    It is trusted, so it needs no engine of its own, which takes ten times as long to start as most
    queries run. Nothing that somebody typed belongs in it.
    """
    with store.connect() as con:
        table: pa.Table = con.sql(sql).to_arrow_table()
    return table


def _only_reads(statements: Sequence[duckdb.Statement], sql: str) -> bool:
    """Return whether it is one statement, of a kind that only reads; ``explain analyze`` runs another."""
    try:
        [kind] = [statement.type for statement in statements]
    except ValueError:  # several, or of a kind that this library has no name for
        return False
    return kind in _KINDS and (kind != duckdb.StatementType.EXPLAIN or "analyze" not in sql.lower())


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
