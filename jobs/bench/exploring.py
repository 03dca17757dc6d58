"""Figures of the explore page over the stored pool: how soon it is there, how soon it answers."""

import http.client
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import listed
from jobs.bench.startup import environment
from jobs.bench.stored import RANK, scored_pool
from jobs.explored import explore_page

COLUMNS: Final = "likelihood.mean_logp,likelihood.n_tokens,source"
ROWS: Final = 25


def start(bench: Bench) -> Figure:
    """Seconds from ``curate explore`` to the first page of rows with their texts, cold."""
    store = scored_pool(bench)
    times = []
    for _ in range(bench.sizes.repeats):
        began = time.perf_counter()
        with explored(store) as page:
            page.ask("pool")
            page.show({"columns": COLUMNS})
            page.ask("histogram", column=RANK)
            times.append(time.perf_counter() - began)
    detail = f"{bench.sizes.stored:,} examples; {listed(times)} s, a new process each time"
    what = "curate explore: process, snapshot, columns, first rows with texts, histogram"
    return judged("explore-start", statistics.median(times), Goal("<", 5, "s"), what, detail)


def answer(bench: Bench) -> Figure:
    """Milliseconds of a filter and a sort that were not asked before, texts of the rows included."""
    store = scored_pool(bench)
    times, texts = [], []
    with explored(store) as page:
        page.show({"columns": COLUMNS})
        for k in range(max(3, bench.sizes.repeats)):
            where = (
                f"likelihood.mean_logp > {-0.9 + 0.1 * k} and likelihood.n_tokens % 3 <> {k % 3}"
            )
            order = {"sort": "likelihood.sum_logp" if k % 2 else RANK, "order": "desc"}
            began = time.perf_counter()
            rows = page.ask("rows", columns=COLUMNS, limit=ROWS, where=where, **order)["rows"]
            times.append(1000 * (time.perf_counter() - began))
            page.previews(rows)
            texts.append(1000 * (time.perf_counter() - began) - times[-1])
    detail = (
        f"{bench.sizes.stored:,} examples, each filter new; {listed(times, 0)} ms for {ROWS} rows; "
        f"their texts, which come after, {listed(texts, 0)} ms"
    )
    what = "filter and sort on the explore page, over HTTP"
    return judged("explore-answer", statistics.median(times), Goal("<", 500, "ms"), what, detail)


class Page:
    """A client of a running explore page."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._headers = {"authorization": f"Bearer {parts.query.partition('=')[2]}"}

    def ask(self, name: str, **given: Any) -> Any:
        """Return the answer to one question."""
        self._connection.request("GET", f"/api/{name}?{urlencode(given)}", headers=self._headers)
        response = self._connection.getresponse()
        document = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"the explore page answered {response.status}: {document['error']}")
        return document

    def show(self, given: Mapping[str, Any]) -> None:
        """Ask for one page of rows and for their texts, as the browser does."""
        self.previews(self.ask("rows", limit=ROWS, **given)["rows"])

    def previews(self, rows: list[dict[str, Any]]) -> None:
        """Ask for the texts of some rows."""
        self.ask("previews", ids=",".join(row["id"] for row in rows))


@contextmanager
def explored(store: Path) -> Iterator[Page]:
    """Run ``curate explore`` over a store as long as the block lasts."""
    with explore_page(store, "bench", environment()) as url:
        yield Page(url)
