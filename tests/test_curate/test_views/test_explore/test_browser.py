"""The explore page in a real headless browser, over real rows and over hostile ones."""

import re

import pytest
from browsed import Page
from reported import hostile_rows, score, write_rows
from surrogates import surrogates_let_in

pytestmark = pytest.mark.slow

FLAG = "return window.flag === undefined && !document.title.includes('flag')"


def value(name: str) -> float:
    return (sum(name.encode()) % 97) / 10


@pytest.fixture(scope="module")
def real_store(realdata, tmp_path_factory):
    """Three hundred real rows with made-up scores, an embedding, and two selections."""
    import pyarrow.parquet as pq

    import curate as cu

    folder = tmp_path_factory.mktemp("explored")
    path = folder / "ni.parquet"
    table = pq.read_table(realdata / "ni_pool.parquet")
    pq.write_table(table.take(list(range(0, len(table), len(table) // 300))), path)
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(path))
    score(pool, "quality", {"value": ("float", value)})
    score(pool, "clusters", {"cluster": ("int", lambda n: int(value(n)) % 4)})
    score(pool, "embedding", {"vector": ("vector", lambda n: [value(n), float(len(n)), 1.0])})
    ids = {
        "a": pool.select(rank="quality.value", budget="20%").id,
        "b": pool.select(rank="-quality.value + n_chars / 500", budget="20%").id,
    }
    return pool, ids


@pytest.mark.timeout(600)
def test_a_person_looks_around_and_marks(browser, explore, real_store):
    pool, selections = real_store
    page = Page(browser)
    browser.get(explore(pool.store.path))
    page.shows(f"{len(pool)} of {len(pool)} examples")
    assert "token" not in browser.current_url
    searches_and_filters(page, pool)
    sorts_and_opens(page)
    n_shown = compares(page, pool, selections)
    for tab, drawn in (("map", "#panel-map .legend"), ("clusters", "#panel-clusters td"),
                       ("distribution", ".histogram rect")):  # fmt: skip
        page.press(f"#tab-{tab}")
        page.until(tab, lambda drawn=drawn: page.all(drawn))

    first = page.ids()[0]
    page.press("#rows tbody tr [data-mark='in']")
    page.until("mark", lambda: page.all("tr.marked-in"))
    browser.refresh()
    page.shows(f"{n_shown} of {len(pool)} examples")
    page.until("mark after reloading", lambda: page.all(f"tr.marked-in[data-id='{first}']"))
    assert len(page.all("tr.marked-in")) == 1
    assert pool.store.listed("marked-in-ana") == [first]
    assert page.one("#marks").text == "ana marked 1 in, 0 out"
    wrong = [one for one in page.complaints() if "400" not in one]
    assert wrong == []


def searches_and_filters(page, pool):
    n = len(pool)
    [prompt] = pool.sql("select prompt from examples order by id limit 1")["prompt"]
    word = max(re.findall("[a-z]+", prompt.lower()), key=len)
    page.type("#search", word)
    where = f"contains(lower(prompt), '{word}') or contains(lower(response), '{word}')"
    found = pool.store.view(bind={}, where=where)
    assert 0 < len(found.ids) < n
    page.shows(f"{len(found.ids)} of {n} examples")
    assert page.one("#sort").get_property("value") == "relevance"

    page.type("#search", "")
    page.type("#where", "quality.value >")
    page.until("message", lambda: "expected a value" in page.one("#error").text)
    page.type("#where", "quality.value > 5 and n_chars < 2000")
    wanted = pool.store.view(bind={}, where="quality.value > 5 and n_chars < 2000")
    page.shows(f"{len(wanted.ids)} of {n} examples")
    assert page.one("#error").text == ""


def sorts_and_opens(page):
    page.choose("#sort", "quality.value")
    page.until("order", lambda: page.column(3) == sorted(page.column(3), key=float))
    page.press("#order")
    page.until("order", lambda: page.column(3) == sorted(page.column(3), key=float, reverse=True))
    page.press("#rows tbody tr .open")
    text = page.opened(page.ids()[0])
    assert "quality.value" in text and "top-k" in text
    page.press("#example .close")


def compares(page, pool, selections):
    """Show what only the first of two selections keeps; return how many those are."""
    page.press("#clear")
    page.shows(f"{len(pool)} of {len(pool)} examples")
    page.press("#tab-compare")
    page.until("choice", lambda: page.all("#compare-a"))
    page.choose("#compare-b", selections["b"])
    page.choose("#compare-a", selections["a"])
    page.until("comparison", lambda: page.all("[data-part='only-a']"))
    a, b = (set(pool.selection(one).rows()["id"].to_pylist()) for one in selections.values())
    page.press("[data-part='only-a']")
    page.shows(f"{len(a - b)} of {len(pool)} examples")
    assert set(page.ids()) <= a - b
    return len(a - b)


@pytest.mark.timeout(600)
def test_hostile_examples_execute_nothing(browser, explore, tmp_path):
    import curate as cu

    rows = hostile_rows()
    for row in rows[:2]:
        row["response"] = row["response"].replace("document.title='flag'", "window.flag=1")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    with surrogates_let_in():
        pool.ingest(str(write_rows(tmp_path / "pool.jsonl", rows)))
    score(pool, "<img src=x onerror=window.flag=1>", {"v": ("float", lambda n: float(n[1:]))})
    score(pool, "notes", {"text": ("text", lambda n: rows[int(n[1:])]["response"][:80]
                                   .encode("utf-8", "replace").decode())})  # fmt: skip
    pool.select("random", budget=5)
    page = Page(browser)
    browser.get(explore(pool.store.path))
    page.shows(f"{len(rows)} of {len(rows)} examples")
    for box in range(len(page.all("#column-list input"))):
        script = "const one = document.querySelectorAll('#column-list input')[arguments[0]];"
        page.run(f"{script} if (!one.checked) one.click()", box)
    page.until("rows", lambda: not page.all("body.waiting"))
    seen = ""
    for name in page.ids():
        page.press(f"tr[data-id='{name}'] .open")
        seen += page.opened(name)
        page.press("#example .close")
    assert page.run(FLAG)
    assert page.all("#rows script, #rows img, #example img, #example script, #rows svg") == []
    for text in ("<script>", "onerror", "U+202E", "U+200B", "U+D800", "more characters"):
        assert text in seen
    assert page.run("return document.querySelectorAll('#rows bdi[dir=auto]').length") > len(rows)
    assert page.complaints() == []


def test_without_the_token_the_browser_sees_nothing(browser, explore, tmp_path):
    import curate as cu

    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(write_rows(tmp_path / "pool.jsonl", hostile_rows()[:2])))
    address = explore(pool.store.path).partition("?")[0]
    browser.get(address)
    assert "the full address that curate explore printed" in Page(browser).one("body").text
