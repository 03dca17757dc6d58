"""What a selection kept of the built-in pool, compared with the truth that the pool carries."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from curate.demo.pool import PoolRow
from curate.errors import DataError

POOL: Final = "pool"


def kept_table(
    rows: Sequence[PoolRow], kept: Mapping[str, Sequence[str]], tokens: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return one line per method, the whole pool first, as plain data.

    Parameters
    ----------
    rows
        The rows of the pool.
    kept
        Row ids each method kept, by method.
    tokens
        Tokens each method kept, by method, and of the pool, under ``pool``.

    Returns
    -------
    list of dict
        Per line: ``method``, ``rows``, ``wrong_share`` (rows with a planted wrong answer),
        ``repeat_share`` (rows that repeat, exactly or nearly, another row of the same line),
        ``off_style_share``, ``skills`` (how many of them occur) and ``tokens``.

    Raises
    ------
    DataError
        For an id that is not a row of the pool.
    """
    by_id = {row.id: row for row in rows}
    lines = [_line(POOL, rows, tokens[POOL])]
    for method, ids in kept.items():
        unknown = [row_id for row_id in ids if row_id not in by_id]
        if unknown:
            raise DataError(
                f"{method} kept {unknown[0]!r}, which is not a row of the demo's pool; "
                "build the pool of the same seed"
            )
        lines.append(_line(method, [by_id[row_id] for row_id in ids], tokens[method]))
    return lines


def _line(method: str, rows: Sequence[PoolRow], tokens: int) -> dict[str, Any]:
    n = len(rows)
    originals = {row.duplicate_of or row.id for row in rows}
    return {
        "method": method,
        "rows": n,
        "wrong_share": _share(sum(not row.is_correct for row in rows), n),
        "repeat_share": _share(n - len(originals), n),
        "off_style_share": _share(sum(row.style == "off-style" for row in rows), n),
        "skills": len({row.skill for row in rows}),
        "tokens": tokens,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
