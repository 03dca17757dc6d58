"""One walk through the explore page in a real headless browser, over every part of it."""

import json

import pytest
from browsed import Page
from reported import score, write_rows

from curate.data.write.manifest import manifest_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clustered_store(tmp_path_factory):
    """Sixty examples in three well separated groups, with copies, maths and code among them."""
    import curate as cu

    folder = tmp_path_factory.mktemp("walked")
    topics = ("cats purr softly", "rivers flow downhill", "planets orbit stars")
    rows = [
        {"id": f"{k % 3}-{k}", "prompt": f"Tell me about how {topics[k % 3]}, please, number {k}.",
         "response": f"**Well**, {topics[k % 3]} because $x_{k} \\le \\frac{{1}}{{2}}$.\n\n```\nprint({k})\n```",
         "source": "abc"[k % 3]}
        for k in range(60)
    ]  # fmt: skip
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(write_rows(folder / "pool.jsonl", rows)))
    group, number = (lambda n: int(n[0])), (lambda n: float(n[2:]))
    score(pool, "quality", {"value": ("float", number)})
    score(pool, "copies", {
        "is_copy": ("bool", lambda n: number(n) >= 56), "representative": ("text", lambda n: n),
        "similarity": ("float", number),
    })  # fmt: skip
    score(pool, "clusters", {"cluster": ("int", group)})
    score(pool, "embedding", {
        "vector": ("vector", lambda n: [10.0 * (group(n) == 0), 10.0 * (group(n) == 1), number(n) / 60]),
    })  # fmt: skip
    return pool


@pytest.mark.timeout(600)
def test_a_person_walks_through_everything(browser, explore, clustered_store):
    pool = clustered_store
    page = Page(browser)
    resize(browser, 1440, 1000)
    browser.get(explore(pool.store.path))
    page.shows("60 of 60 examples")
    keys_and_back(page)
    opens_right_after_closing(page)
    everything_fits(page)
    marks_many(page, pool)
    drags_over_the_map(page, pool)
    excludes_an_issue(page, pool)
    selects_and_exports(page, pool)
    for dark in (True, False):
        resize(browser, 390, 844, dark=dark)
        for tab in ("map", "clusters", "issues", "select", "distribution"):
            page.press(f"#tab-{tab}")
            page.until(tab, lambda tab=tab: page.all(f"#panel-{tab} *"))
            assert page.run("return document.documentElement.scrollWidth") <= 390, tab
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(21, 24, 28)") is dark
    assert page.complaints() == []


def resize(browser, width, height, dark=False):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False,
    })  # fmt: skip
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def keys_and_back(page):
    """Enter opens the focused row, and the browser's Back closes it again."""
    third, fourth = page.ids()[2:4]
    page.run("document.querySelectorAll('#rows tbody tr')[0].focus()")
    page.browser.switch_to.active_element.send_keys("jj\ue007")
    page.opened(third)
    assert page.run("return document.querySelector('#example math mfrac') !== null")
    assert page.run("return document.querySelector('#example .fenced code').textContent") in (
        f"print({k})" for k in range(60)
    )
    page.browser.switch_to.active_element.send_keys("\ue014")
    page.opened(fourth)
    page.browser.back()
    page.until("closed", lambda: not page.all("dialog[open]"))
    page.type("#search", "rivers")
    page.shows("20 of 60 examples")
    page.until("hit", lambda: page.all("#rows .prompt mark"))
    assert {one.text for one in page.all("#rows mark")} == {"rivers"}
    page.browser.back()
    page.shows("60 of 60 examples")
    assert page.one("#search").get_property("value") == ""
    page.browser.forward()
    page.shows("20 of 60 examples")
    page.press("#clear")
    page.shows("60 of 60 examples")


def opens_right_after_closing(page):
    """What is opened, or asked for, before the step back of closing has come stays as it is."""
    first, second = page.ids()[:2]
    page.press(f"tr[data-id='{first}'] .open")
    page.opened(first)
    n_steps = page.run("return history.length")
    page.run(
        "document.querySelector('#example').addEventListener('close', () => {"
        "  document.querySelector(arguments[0]).click();"
        "  window.hasLeft = new Promise((come) => addEventListener('popstate', () => setTimeout(come), { once: true }));"
        "}, { once: true });"
        "document.querySelector('#example .close').click();",
        f"tr[data-id='{second}'] .open",
    )
    page.opened(second)
    page.run("return window.hasLeft")
    assert page.all("dialog[open]")
    assert f"open={second}" in page.browser.current_url
    assert page.run("return history.length") == n_steps
    page.browser.back()
    page.until("closed", lambda: not page.all("dialog[open]"))
    assert "open=" not in page.browser.current_url


def everything_fits(page):
    """The form and the tabs are one row each at 1440 pixels."""
    for css in ("#ask :is(input, select, button)", "#tabs button"):
        bottoms = page.run(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map((one) => Math.round(one.getBoundingClientRect().bottom))",
            css,
        )
        assert len(set(bottoms)) == 1, css


def marks_many(page, pool):
    page.type("#where", "quality.value < 10")
    page.shows("10 of 60 examples")
    page.press("#bulk-out")
    page.until("marks", lambda: page.one("#marks").text == "ana marked 0 in, 10 out")
    page.until("undo", lambda: page.one("#undo").is_displayed())
    page.press("#undo")
    page.until("undone", lambda: page.one("#marks").text == "ana marked 0 in, 0 out")
    ticked = page.ids()[:2]
    for name in ticked:
        page.press(f"tr[data-id='{name}'] .tick input")
    page.type("#bulk-label", "odd_one")
    page.until("label", lambda: len(page.all("#rows .label")) == 2)
    assert sorted(pool.store.listed("label-odd_one-ana")) == sorted(ticked)
    page.press("#bulk .untick")
    page.press(f"tr[data-id='{ticked[0]}'] .open")
    page.opened(ticked[0])
    page.one("#note").send_keys("look again")
    page.press("#keep-note")
    page.until("note", lambda: page.all("#rows .label.note"))
    page.press("#example .close")
    page.until("closed", lambda: not page.all("dialog[open]"))
    assert pool.store.selection_rows("notes-ana").to_pylist()[0]["reason"] == "look again"
    page.press("#clear")


def drags_over_the_map(page, pool):
    """What is dragged over is what the table shows, and the text under the pointer is shown."""
    from selenium.webdriver.common.action_chains import ActionChains

    page.press("#tab-map")
    page.until("map", lambda: page.all("#panel-map .legend"))
    first = page.run(
        "const c = document.querySelector('.map'), pixels = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data;"
        "for (let x = 0; x < c.width; x += 1) for (let y = 0; y < c.height; y += 1)"
        "  if (pixels[4 * (y * c.width + x) + 3] > 200) return [x + 3 - c.width / 2, y + 2 - c.height / 2];"
    )
    canvas = page.one(".map")
    ActionChains(page.browser).move_to_element_with_offset(canvas, *map(round, first)).perform()
    page.until("text", lambda: page.all(".map-tip .prompt"))
    width, height = canvas.size["width"], canvas.size["height"]
    drag = ActionChains(page.browser).move_to_element_with_offset(
        canvas, 6 - width // 2, 6 - height // 2
    )
    drag.click_and_hold().move_by_offset(width // 3, height - 12).release().perform()
    page.until("area", lambda: page.all("#chips li"))
    page.until("fewer", lambda: not page.one("#count").text.startswith("60 of"))
    n = int(page.one("#count").text.split()[0])
    assert 0 < n < 60 and n % 20 == 0
    assert page.one("#bulk strong").text == f"All {n} shown:"
    page.press("#map-free")
    page.shows("60 of 60 examples")
    page.press("#rows tbody tr .open")
    shown = page.ids()[0]
    page.opened(shown)
    page.press("#show-neighbours")
    near = page.until("neighbours", lambda: page.all("[data-neighbour]"))
    assert len(near) == 8
    group = pool.sql("select id, source from examples").rows()
    source = dict(group)
    assert {source[one.get_attribute("data-neighbour")] for one in near} == {source[shown]}
    page.press("#example .close")
    page.until("closed", lambda: not page.all("dialog[open]"))


def excludes_an_issue(page, pool):
    page.press("#tab-issues")
    page.press("[data-show='near-duplicates:copies']")
    page.shows("4 of 60 examples")
    page.press("[data-exclude='near-duplicates:copies']")
    page.until("excluded", lambda: page.one("#marks").text == "ana marked 0 in, 4 out")
    page.until("all out", lambda: len(page.all("tr.marked-out")) == 4)
    copies = pool.store.view(bind={}, where="copies.is_copy").ids
    assert sorted(pool.store.listed("marked-out-ana")) == sorted(i.decode() for i in copies)
    page.press("#clear")
    page.shows("60 of 60 examples")


def selects_and_exports(page, pool):
    """The best fifth by a score without what was excluded, written to a file."""
    page.press("#tab-select")
    page.until("form", lambda: page.all("#select-run"))
    page.choose("#select-method", "")
    page.one("#select-rank").send_keys("quality.value")
    page.run("document.querySelector('#select-budget').value = '20%'")
    assert page.one("#select-marks").is_selected()
    page.press("#select-run")
    page.until("selection", lambda: page.all("#made"))
    page.shows("12 of 60 examples")
    page.run("document.querySelector('#export-file').value = 'walked.jsonl'")
    page.press("#export-run")
    page.until("file", lambda: "12 rows" in page.one("#export-said").text)
    written = pool.store.path.parent / "walked.jsonl"
    numbers = [int(json.loads(line)["id"][2:]) for line in written.read_text().splitlines()]
    assert numbers == list(range(55, 43, -1))
    assert manifest_path(written).exists()
