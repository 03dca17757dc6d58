"""Figures of the explore page over the stored pool: how soon it is there, how soon it answers."""

import http.client
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from jobs.bench.children import MIB, in_child, peak_bytes
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import listed
from jobs.bench.startup import environment
from jobs.bench.stored import RANK, scored_pool, select_stored
from jobs.explored import explore_server

COLUMNS: Final = "likelihood.mean_logp,likelihood.n_tokens,source"
ROWS: Final = 25
CLIENTS: Final = 20
WHY_NOT_GOAL: Final = Goal("<", 10, "s")  # they take turns, a quarter of a second each
SELECTIONS: Final = (({"rank": RANK}, "10%"), ({"rank": RANK, "per_group": "1"}, None))


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


def why_not(bench: Bench) -> Figure:
    """Seconds until clients that ask at once are told why selections lack one example each."""
    store = scored_pool(bench, "asked")  # with these selections alone
    for settings, budget in SELECTIONS:
        in_child(select_stored, store, settings, budget, 0)
    with explored(store) as page:
        lowest = page.ask("rows", columns=COLUMNS, limit=CLIENTS + 1, sort=RANK, order="asc")
        first, *asked = [row["id"] for row in lowest["rows"]]
        before = peak_bytes(page.server)
        alone = seconds_of(page, first)
        clients = [page.another() for _ in asked]
        with ThreadPoolExecutor(len(clients)) as pool:
            times = sorted(pool.map(seconds_of, clients, asked))
        peak = peak_bytes(page.server)
    detail = (
        f"{bench.sizes.stored:,} examples, {len(SELECTIONS)} selections; one client before the others "
        f"{alone:.2f} s; of {len(times)} at once the first after {times[0]:.2f} s, half after "
        f"{statistics.median(times):.2f} s, all after {times[-1]:.2f} s; peak of the server "
        f"{peak / MIB:,.0f} MiB, {before / MIB:,.0f} before the first question"
    )
    what = f"seconds until all of {len(times)} clients that ask why-not at once are answered"
    return judged("explore-why-not", times[-1], WHY_NOT_GOAL, what, detail)


def seconds_of(page: "Page", example: str) -> float:
    """Ask why selections lack an example; return the seconds until the answer."""
    began = time.perf_counter()
    answers = page.ask("why-not", id=example)["absent"]
    spent = time.perf_counter() - began
    causes = {absence["cause"] for absence in answers}
    if len(answers) != len(SELECTIONS) or causes != {"ranked below", "left out"}:
        raise AssertionError(f"why-not of {example} was answered by {answers}")
    return spent


class Page:
    """A client of a running explore page, whose server is the process of that number."""

    def __init__(self, url: str, server: int) -> None:
        self._url, self.server = url, server
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._headers = {"authorization": f"Bearer {parts.query.partition('=')[2]}"}

    def another(self) -> "Page":
        """Return another client of the same page."""
        return Page(self._url, self.server)

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
    with explore_server(store, "bench", environment()) as (url, server):
        yield Page(url, server)
