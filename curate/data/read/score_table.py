"""Scores made elsewhere as one table: from a file, or from a frame in memory; columns by their types."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.contracts.display import counted
from curate.data.read.containers.arrow_readers import arrow_schema, read_arrow
from curate.data.read.containers.text_readers import read_jsonl
from curate.data.read.records import repeated
from curate.data.read.sources import compression_of
from curate.data.read.spooled import batches_of
from curate.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
_TAKEN: Final = ("id", "failure")
_ENDINGS: Final = ".parquet, .csv, .tsv, .jsonl, .ndjson, .arrow or .feather"


def read_score_table(given: Any, keys: Sequence[str]) -> "pa.Table":
    """Return scores as an Arrow table.

    Parameters
    ----------
    given
        A file, or a table of polars, pandas, Arrow or ``datasets``, a dict of columns or a list of
        dicts.
    keys
        Columns that hold ids; in CSV they are read as text, so that ``007`` stays ``007``.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, or it is nothing that holds a table.
    """
    if isinstance(given, str | Path):
        path = Path(given).expanduser()
        return _checked(_read_file(path, keys), path)
    import pyarrow as pa

    table = batches_of(given)
    if table is not None:
        return pa.Table.from_batches(table[1], table[0])
    if isinstance(given, dict):
        return pa.table(given)
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        return pa.Table.from_pylist(given)
    raise DataError(
        f"scores are {type(given).__name__}; give a file, a table of polars, pandas, Arrow or datasets, a dict "
        "of columns, or a list of dicts"
    )


def _read_file(path: Path, keys: Sequence[str]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}; check the path")
    ending = next(
        (suffix for suffix in reversed(path.suffixes) if suffix not in (".gz", ".zst")), ""
    )
    as_text = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(keys, pa.string()),
        null_values=[""],  # NA and null are texts, and ids
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    try:
        if ending == ".parquet":
            return pq.read_table(path)
        if ending in (".csv", ".tsv"):
            parsing = pa.csv.ParseOptions(
                delimiter="," if ending == ".csv" else "\t", newlines_in_values=True
            )
            return pa.csv.read_csv(path, parse_options=parsing, convert_options=as_text)
        if ending in (".jsonl", ".ndjson"):
            return _of_records(path)
        if ending in (".arrow", ".feather"):
            return _of_batches(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {str(path)!r} as {ending[1:]}: {error}") from error
    raise DataError(f"cannot tell what {str(path)!r} is; scores are read from {_ENDINGS}")


def _of_batches(path: Path) -> "pa.Table":
    """Return an Arrow file as a table, each batch checked before it is looked into."""
    import pyarrow as pa

    compression = compression_of(path)
    schema = arrow_schema(path, compression)
    chunks = list(read_arrow(path, compression, 0, schema))
    for chunk in chunks:
        if chunk.bad:
            raise DataError(f"{chunk.bad[0].place}: {chunk.bad[0].reason}; correct it")
    return pa.Table.from_batches([chunk.raw for chunk in chunks], schema)


def _of_records(path: Path) -> "pa.Table":
    """Return JSON Lines as a table; Arrow's own reader of them crashes on a line that is ``null``."""
    import pyarrow as pa

    tables = []
    for chunk in read_jsonl(path, compression_of(path), 0):
        if chunk.bad:
            raise DataError(f"{chunk.bad[0].place}: {chunk.bad[0].reason}; correct it")
        columns = {}
        for name in chunk.names():
            try:
                columns[name] = pa.array(chunk.values(name))
            except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
                raise DataError(
                    f"cannot read {str(path)!r} as {path.suffix[1:]}: column {name!r}: "
                    f"{str(error).splitlines()[0]}; give it values of one type"
                ) from error
        tables.append(pa.table(columns))
    return pa.concat_tables(tables, promote_options="permissive")


def _checked(table: "pa.Table", path: Path) -> "pa.Table":
    """Return a table that was read; raise `DataError` where it is damaged or has a column twice."""
    import pyarrow as pa

    try:
        names = table.column_names
        table.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged or not UTF-8: {error}; write it again") from error
    twice = repeated(names)
    if twice is not None:
        raise DataError(f"{path}: the file has column {twice!r} twice; rename one")
    return table


def score_columns(
    table: "pa.Table", key: str | None, wanted: Sequence[str]
) -> tuple[dict[str, str], dict[str, "pa.Array"], dict[str, str]]:
    """Return the columns of scores: dtype by name, values by name, and why others are left out.

    Numbers, text, booleans, lists of numbers and vectors (equally long lists of floats) can be
    scores; NaN is no value.

    Parameters
    ----------
    key
        The column of ids, which is no score; None without one.
    wanted
        Names of the columns to take; none: all that can be scores.

    Raises
    ------
    DataError
        A wanted column is missing or cannot be a score, a value is infinite, or nothing is left.
    """
    names = [name for name in table.column_names if name != key]
    for name in wanted:
        if name not in names:
            raise DataError(
                f"there is no column {name!r} of scores{did_you_mean(name, names)}; there are: {', '.join(names)}"
            )
    dtypes: dict[str, str] = {}
    values: dict[str, pa.Array] = {}
    left_out: dict[str, str] = {}
    known: dict[str, str] = {}
    for name in wanted or names:
        problem = _name_problem(name, known)
        dtype, column = ("", None) if problem else _read_as_score(name, table[name])
        if column is None:
            left_out[name] = (
                problem
                or f"a score is a number, text, true or false, or a list of numbers, not {dtype}"
            )
        else:
            _check_finite(name, column)
            dtypes[name], values[name] = dtype, column
            known[name.lower()] = name
    if left_out and (wanted or not dtypes):
        name, why = next(iter(left_out.items()))
        raise DataError(
            f"column {name!r} cannot be a score: {why}; rename it, or choose others by --columns"
        )
    if not dtypes:
        raise DataError("there is no column of scores beside the ids; add one")
    return dtypes, values, left_out


def _name_problem(name: str, known: dict[str, str]) -> str:
    """Return why a column's name is not one of a score; ``known`` are others by their lower case."""
    if name.lower() in _TAKEN:
        return f"the name {name!r} has a meaning of its own"
    if not _NAME.fullmatch(name):
        return "expressions read names of letters, digits and _, at most 64, the first one a letter"
    same = known.get(name.lower())
    return f"SQL cannot tell it from {same!r}" if same else ""


def _read_as_score(name: str, column: Any) -> tuple[str, Any]:
    import pyarrow as pa

    try:
        return _typed(column.combine_chunks())
    except pa.ArrowException as error:
        raise DataError(
            f"column {name!r} has a value that no score can hold: {error}; correct it, or leave the column out "
            "with --columns"
        ) from error


def _typed(column: Any) -> tuple[str, Any]:
    """Return the dtype of a column and its values in that type, or its Arrow type and None."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if kinds.is_boolean(kind):
        return "bool", column
    if kinds.is_integer(kind) and kind != pa.uint64():
        return "int", column.cast(pa.int64())
    if kinds.is_floating(kind) or kinds.is_decimal(kind) or kind == pa.uint64():
        floats = column.cast(pa.float64(), safe=False)  # of large whole numbers the nearest
        return "float", pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kind == pa.string_view():
        return "text", column.cast(pa.string())
    is_list = kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)
    if not is_list:
        return str(kind), None
    if kinds.is_integer(kind.value_type):
        return "ints", column.cast(pa.list_(pa.int32()))
    if not kinds.is_floating(kind.value_type):
        return str(kind), None
    lengths = pc.unique(pc.drop_null(pc.list_value_length(column))).to_pylist()
    equal = len(lengths) == 1 and lengths[0] > 0
    return "vector" if equal else "floats", column.cast(pa.list_(pa.float32()))


def _check_finite(name: str, column: "pa.Array") -> None:
    """Raise `DataError` for numbers that are infinite, and in lists for those that are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    listed = pa.types.is_list(column.type)
    numbers = column.flatten() if listed else column
    if not pa.types.is_floating(numbers.type):
        return
    n_missing = numbers.null_count if listed else 0
    n_bad = (pc.sum(pc.invert(pc.is_finite(numbers))).as_py() or 0) + n_missing
    if n_bad:
        raise DataError(
            f"column {name!r} has {counted(n_bad, 'number')} that {'is' if n_bad == 1 else 'are'} not finite; a score "
            "is finite, or missing (null)"
        )
