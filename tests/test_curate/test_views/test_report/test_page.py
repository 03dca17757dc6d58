"""The page itself: whole, self-contained, escaped, and saying what it should."""

import re

import pytest
from reported import colour_rows, hostile_rows, parse, score, write_rows

from curate.errors import ConfigError, DataError
from curate.views.report.build import ReportOptions, write_report


def kinds(document):
    return {(one["kind"], one["level"]) for one in document["warnings"]}


# Whole and self-contained ------------------------------------------------------------------------


def check_contained(page):
    """The page parses, and has nothing that could run or be fetched."""
    parsed = parse(page)
    assert parsed.names().isdisjoint(
        {"script", "img", "link", "iframe", "object", "embed", "video", "audio", "form", "base"}
    )
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert (attributes.get("href") or "#")[0] == "#"
    style = page.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page
    return parsed


def test_a_page_of_a_store_is_one_file_that_fetches_nothing(colours, report):
    colours.select(rank="quality.value", budget=4)
    colours.select("random", budget=4)
    document, page = report(colours)
    parsed = check_contained(page)
    links = [a["href"][1:] for tag, a in parsed.tags if tag == "a"]
    assert set(links) == {a["id"] for tag, a in parsed.tags if tag == "section"}
    assert len(document["selections"]) == 2
    assert document["bytes"] == len(page.encode())
    for name in ("Pool", "Scores", "Overlap of selections", "Cost", "Manifest"):
        assert name in parsed.text
    assert "12" in parsed.text and "2031-02-03 04:05 UTC" in parsed.text


def test_hostile_texts_are_shown_and_do_nothing(make_pool, report):
    pool = make_pool(hostile_rows())
    score(pool, "quality", {"value": ("float", lambda n: float(n[1:]))})
    pool.select(rank="quality.value", budget=5)
    _, page = report(pool)
    parsed = check_contained(page)
    assert "<script>document.title='flag'</script>" in parsed.text
    for mark in ("U+202E", "U+200B", "U+200C", "U+0000", "U+001B", "שלום עולם", "&lt;script&gt;"):
        assert mark in parsed.text
    assert "… 999,100 characters cut …" in parsed.text
    assert "\u202e" not in page and "\x00" not in page
    assert len(page) < 300_000


def test_hostile_texts_stay_inside_markdown(make_pool, report):
    pool = make_pool(hostile_rows())
    pool.select("random", budget=5)
    _, page = report(pool, as_markdown=True)
    fence, outside = None, []
    for line in page.split("\n"):
        opened = re.match("(`{3,})(text)?$", line)
        if fence is None and opened and opened[2]:
            fence = opened[1]
        elif fence is not None and line == fence:
            fence = None
        elif fence is None:
            outside.append(line)
    assert fence is None
    assert not [line for line in outside if re.search(r"<(script|img|svg|style|b)\b", line)]
    assert not [line for line in outside if re.search(r"(?<!\\)\]\(", line)]


def test_markdown_of_a_tiny_store_golden(colours, made_colours, report, golden):
    colours.select(rank="quality.value", budget=4)
    _, page = report(colours, as_markdown=True)
    page = page.replace(str(made_colours), "FOLDER")
    page = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME", page)
    page = re.sub(r'"versions": \{[^}]*\}', '"versions": {}', page)
    page = re.sub(r"Made by curate [\d.]+", "Made by curate X", page)
    golden("report.md", page)


# What it says ------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_store_comes_first(make_pool, report):
    rows = colour_rows()
    pool = make_pool([*rows, *rows[:2], {**rows[0], "id": "again", "response": "RED!"}])
    columns = {
        "value": ("float", lambda n: 0.5 if n != "gold-2" else 0.7),
        "truncated": ("bool", lambda n: n == "blue-1"),
    }
    score(pool, "quality", columns, lambda n: "poison" if n == "red-1" else None)
    long = pool.select(rank="n_chars", budget=2)
    document, page = report(pool)
    assert kinds(document) == {
        ("near_duplicates", "warning"), ("failures", "warning"), ("truncation", "warning"),
        ("collapse", "warning"), ("length_bias", "warning"), ("duplicates", "warning"),
    }  # fmt: skip
    said = {one["kind"]: one["text"] for one in document["warnings"]}
    assert said["duplicates"].startswith("2 of 15 rows (13.3%) repeat another row exactly")
    assert said["near_duplicates"].startswith("2 of 13 examples (15.4%)")
    assert "91.7% of the examples have the value 0.5" in said["collapse"]
    assert said["truncation"].startswith(
        "quality truncated 1 example (8.3%) to the model's context of 64 tokens"
    )
    assert said["failures"].startswith("1 example (7.7%) without a value of quality: 1 poison")
    assert said["length_bias"].startswith(f"top-k 2 ({long.id}) differs from the pool in length")
    place = page.index("has collapsed")
    assert place < page.index("<h2>Pool")


@pytest.mark.slow
def test_score_sets_that_fail_alike_are_named_together(colours, report):
    for name in ("one", "two", "three"):
        score(colours, name, {"x": ("float", len)}, lambda n: "poison" if n == "red-1" else None)
    document, _ = report(colours)
    [said] = [one["text"] for one in document["warnings"] if one["kind"] == "failures"]
    assert "without a value of one, two and three: 1 poison" in said


def test_a_selection_says_its_shares_and_why(colours, report):
    chosen = colours.select(rank="quality.value", budget=4)
    document, page = report(colours, selections=(chosen.id[:8],), as_markdown=True)
    assert document["selections"] == [chosen.id]
    assert "| warm | 6 | 4 | 50.0% | 100.0% | 2.00 |" in page
    assert "| cold | 6 | 0 | 50.0% | 0.0% | 0.00 |" in page
    assert "| quality.value | 5.5 | 9.5 | 9.5 | 83% |" in page
    assert "### 4 best" in page and "### 8 borderline" in page
    assert "Its quality.value is 7; the last pick's is 8." in page
    assert "quality.value 11 (higher than 92%)" in page


def test_another_response_to_the_prompt_is_the_reason_where_there_is_one(colours, report):
    chosen = colours.select("top-k", settings={"rank": "quality.value", "per_group": "1"})
    _, page = report(colours, selections=(chosen.id,), as_markdown=True)
    assert "Another response to the same prompt was picked, at rank 1." in page


def test_clusters_are_compared_where_there_are_some(colours, report):
    score(colours, "clusters", {"cluster": ("int", lambda n: int(n.startswith("gold")))})
    chosen = colours.select(rank="quality.value", budget=4)
    _, page = report(colours, selections=(chosen.id,), as_markdown=True)
    assert "Picks are in 2 of 2 clusters of clusters.cluster." in page
    assert "| cluster 1 | 2 | 2 | 16.7% | 50.0% | 3.00 |" in page


@pytest.mark.slow
def test_benchmarks_are_compared_with_the_pool_and_the_picks(colours, report, tmp_path):
    found = [{"prompt": "Say red.", "response": "red"}, {"prompt": "Say gold.", "response": "new"}]
    path = write_rows(tmp_path / "bench.jsonl", [*found, {"prompt": "other", "response": "x"}])
    colours.select(rank="quality.value", budget=4)
    document, _ = report(colours, benchmarks=(str(path),))
    said = [one["text"] for one in document["warnings"] if one["kind"] == "contamination"]
    assert said[0].startswith(
        "2 of 3 examples of benchmark 'bench' overlap with 4 of the pool: 1 are in it, 2 share a "
        "prompt with it, 0 share 13 words"
    )
    assert said[1].startswith("Overlap with benchmark 'bench': 2 picks of top-k 4")
    clean = write_rows(tmp_path / "clean.jsonl", [{"prompt": "other", "response": "x"}])
    document, _ = report(colours, benchmarks=(str(clean),))
    assert ("contamination", "note") in kinds(document)


# Odd stores --------------------------------------------------------------------------------------


def test_a_store_without_scores_and_one_without_examples(make_pool, report, tmp_path):
    document, page = report(make_pool([]))
    assert kinds(document) == {("empty", "note")}
    check_contained(page)
    pool = make_pool(colour_rows())
    pool.select("random", budget=3)
    document, page = report(pool)
    assert ("no_scores", "note") in kinds(document)
    assert "3 best" in check_contained(page).text


def test_a_store_with_one_row(make_pool, report):
    pool = make_pool(colour_rows()[:1])
    score(pool, "quality", {"value": ("float", lambda n: 1.0), "text": ("text", lambda n: "<b>")})
    pool.select("random", budget=1)
    document, page = report(pool)
    assert [one["kind"] for one in document["warnings"]] == []
    text = check_contained(page).text
    assert "No truncation, collapsed scores, duplicates" in text
    assert "1 best" in text and "0 rejected" in text
    assert "Columns without a distribution to draw: text (text)." in text


@pytest.mark.slow
def test_picks_that_are_no_longer_in_the_pool_are_counted_and_left_out(colours, report):
    chosen = colours.select(rank="quality.value", budget=4)
    colours.store.forget("prompt = 'Say gold.'")
    document, page = report(colours, selections=(chosen.id,), as_markdown=True)
    [gone] = [one["text"] for one in document["warnings"] if one["kind"] == "forgotten"]
    assert gone.startswith(f"2 of 4 picks of top-k 4 ({chosen.id}) are no longer in the pool.")
    assert "| warm | 4 | 2 | 40.0% | 100.0% | 2.50 |" in page
    colours.store.forget("n_chars > 0")
    document, page = report(colours, selections=(chosen.id,))
    check_contained(page)


def test_scores_that_are_not_finished_are_said(colours, report, tmp_path):
    colours.ingest(str(write_rows(tmp_path / "more.jsonl", [{"prompt": "p", "response": "r"}])))
    document, page = report(colours)
    assert ("incomplete", "warning") in kinds(document)
    assert "12 of 13 examples" in page


def test_long_lists_of_a_manifest_are_cut_with_their_count(colours, report):
    chosen = colours.select("random", budget=2)
    record = chosen.document | {"note": list(range(50)), "selection_id": "abc"}
    colours.store.save_selection(record, chosen.rows())
    _, page = report(colours, selections=("abc",), as_markdown=True)
    assert '"... 30 more"' in page


# Wrong requests ----------------------------------------------------------------------------------


def test_wrong_requests_say_what_would_be_right(colours, report, tmp_path):
    for path, as_markdown, words in (
        ("r.pdf", False, r"the report is HTML, got .*r.pdf'; give -o NAME.html$"),
        ("r.md", False, r"give -o NAME.html; add --md for Markdown"),
        ("r.html", True, r"the report is Markdown, got .*r.html'; give -o NAME.md$"),
        ("none/r.html", False, r"folder .*none' of the report does not exist; create it first"),
    ):
        with pytest.raises(ConfigError, match=words):
            write_report(colours.store, tmp_path / path, ReportOptions(as_markdown=as_markdown))
    with pytest.raises(DataError, match="no selection 'nobody' in the store"):
        report(colours, selections=("nobody",))
    with pytest.raises(DataError, match="missing.jsonl"):
        report(colours, benchmarks=(str(tmp_path / "missing.jsonl"),))
    with pytest.raises(ConfigError, match="needs its store; name it with --store"):
        report(None)
    assert not list(tmp_path.glob("report.*"))


def test_target_sets_are_listed_with_what_the_pool_has_of_them(make_pool, report, tmp_path):
    pool = make_pool(colour_rows())
    _, page = report(pool)
    assert "Target sets" not in page
    rows = [colour_rows()[0], {**colour_rows()[0], "prompt": "Which colour has a lemon?"}]
    pool.target.add("fruit", str(write_rows(tmp_path / "fruit.jsonl", rows)))
    _, page = report(pool)
    text = parse(page).text
    assert "Target sets" in text and "fruit" in text and f"1 of {len(pool)}" in text


def test_selections_that_nobody_asked_for_are_left_out(colours, report):
    chosen = colours.select("random", budget=2)
    part, whole = chosen.document | {"selection_id": "ab" * 8}, chosen.document
    colours.store.save_selection(part, chosen.rows())
    whole = whole | {"selection_id": "cd" * 8, "method": "top-k", "selections": ["ab" * 8]}
    colours.store.save_selection(whole, chosen.rows())
    document, page = report(colours, as_markdown=True)
    assert set(document["selections"]) == {chosen.id, "cd" * 8}
    assert "| selections | 2 |" in page
    card = parse(colours._repr_html_()).text
    assert "selections2" in card and "abab" not in card and "cdcd" in card
