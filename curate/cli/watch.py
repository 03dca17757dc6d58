"""`curate status --watch`: how far scoring is, again and again."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from curate.cli.console import table
from curate.contracts.display import printable
from curate.errors import StoreError

if TYPE_CHECKING:
    from curate.store import Store

INTERVAL_S: Final = 2.0
WAIT_S: Final = 1.0  # for whoever holds the store's file, before saying so
_UP: Final = (
    "\x1b[{}F\x1b[J"  # to the beginning of the line so many lines above, and clear from there
)
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def watch(store: "Store", *, as_json: bool) -> None:
    """Print the progress every two seconds until Ctrl-C: in place on a terminal, else block after block.

    ``as_json``: one document a line instead. While another process holds the store's file, that is said.
    """
    n_lines = 0
    try:
        while True:
            document = _looked(store)
            if as_json:
                print(json.dumps(document, ensure_ascii=False, default=str), flush=True)
            else:
                text = _text(document)
                in_place = sys.stdout.isatty()
                up = _UP.format(n_lines) if in_place and n_lines else ""
                print(up + text + ("" if in_place else "\n"), flush=True)
                n_lines = text.count("\n") + 1
            time.sleep(INTERVAL_S)
    except KeyboardInterrupt:
        return


def _looked(store: "Store") -> dict[str, Any]:
    from curate.scoring.watching import watched

    try:
        with store.waiting(WAIT_S):
            return watched(store)
    except StoreError as error:
        if not error.is_held:
            raise
        return {"held": str(error).partition(" and was not released")[0]}


def _text(document: Mapping[str, Any]) -> str:
    if "held" in document:
        return printable(document["held"])
    head = f"{document['time'][:19]} {document['store']}: {document['n_examples']:,} examples"
    sets = document["score_sets"]
    if not sets:
        return printable(f"{head}; every score set is complete, and nothing runs")
    rows = [
        [
            row["alias"], row["state"], _share(row), _rate(row["examples_per_s"]),
            _duration(row["seconds_left"]), row["n_workers"],
        ]
        for row in sets
    ]  # fmt: skip
    headings = ["alias", "state", "scored", "examples/s", "left", "workers"]
    drawn = [table(headings, rows)]
    if document["workers"]:
        drawn.append(workers_table(document["workers"]))
    return "\n".join([printable(head), *drawn])


def workers_table(workers: Sequence[Mapping[str, Any]]) -> str:
    """Draw what each worker has done; the last ones first, twelve at most."""
    shown = list(reversed(workers))[:12]
    rows = [
        [
            row["worker"], row["device"], row["n_shards"], row["tokens"], _rate(row["tokens_per_s"]),
            _percent(row["padding"]), row["n_retries"], round(row["peak_mib"]),
        ]
        for row in shown
    ]  # fmt: skip
    more = f", the last {len(shown)} of {len(workers):,}" if len(shown) < len(workers) else ""
    headings = [
        "worker", "device", "shards", "tokens", "tokens/s", "padding", "retries", "peak MiB"
    ]  # fmt: skip
    return table(headings, rows, f"workers{more}")


def _share(row: Mapping[str, Any]) -> str:
    whole = row["n_done"] + row["n_left"]
    return f"{100 * row['n_done'] // max(whole, 1)}%, {row['n_done']:,} of {whole:,}"


def _rate(per_s: float | None) -> float | None:
    """Leave out the digits after the point where there are hundreds."""
    return per_s if per_s is None or per_s < 100 else round(per_s)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _duration(seconds: float | None) -> str | None:
    """Write seconds as a person says them.

    Examples
    --------
    >>> _duration(42.4), _duration(600), _duration(9_000), _duration(200_000), _duration(None)
    ('42 s', '10 min', '2 h 30 min', '2 d 7 h', None)
    """
    if seconds is None:
        return None
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY // _HOUR:.0f} h"
