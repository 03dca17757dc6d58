"""What a report shows of contamination: a few examples, with the words, the file and its row."""

import re

import pytest
from reported import parse, proof_document, score, write_rows

from curate.errors import DataError

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


@pytest.fixture
def fruit(make_pool):
    """Seven examples that share words with two files, and three that share none."""
    dirty = [
        {"id": f"d{k}", "prompt": f"Say {k}.", "response": f"Well, {LONG.replace(' ', ', ')} {k}!"}
        for k in range(7)
    ]
    clean = [{"id": f"c{k}", "prompt": f"Ask {k}.", "response": f"no {k}"} for k in range(3)]
    pool = make_pool([*dirty, *clean])
    number = {row["id"]: k for k, row in enumerate(dirty)}
    columns = {
        "n": ("int", lambda i: int(i in number)),
        "share": ("float", lambda i: 0.5 * (i in number)),
        "longest": ("int", lambda i: 13 + number[i] % 2 if i in number else 0),
        "passage": ("text", lambda i: LONG if i in number else ""),
        "file": (
            "text",
            lambda i: "" if i not in number else "b.jsonl" if i == "d6" else "a.jsonl",
        ),
        "file_row": ("int", lambda i: number.get(i, -1) + 1),
        "short_rows": ("int", lambda i: 0),
    }
    score(pool, "contamination", columns, config={"ngram": 13})
    return pool


def test_each_file_shows_a_few_examples_with_the_words_and_the_row(fruit, report):
    document, page = report(fruit, as_markdown=True)
    section = page.split("## Contamination\n")[1].split("\n## ")[0]
    assert "### a.jsonl: 6 examples of the pool share words with it" in section
    assert "<summary>b.jsonl: 1 example of the pool shares words with it</summary>" in section
    rows = re.findall(r"^\| Well, \\\[one, .*$", section, re.MULTILINE)
    assert len(rows) == 5 + 1, "at most five of a file"
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [row[4] for row in cells] == ["14"] * 3 + ["13"] * 3, "the longest run first"
    for said, part, _, file_row, longest, n in cells:
        own = int(file_row) - 1  # the rows end with their own number, which a longer run goes on to
        assert said.endswith(f"thirteen {own}\\]!" if longest == "14" else f"thirteen\\] {own}!")
        assert (part, n) == ("response", "1")
    [said] = [one for one in document["warnings"] if one["kind"] == "contamination"]
    assert said["text"].startswith("7 examples (70.0%) share words in a row with the files of")
    assert '--where "contamination.n == 0"' in said["text"] and said["level"] == "warning"
    assert not [one for one in document["warnings"] if one["kind"] == "collapse"]
    assert "- What needs attention: " in page and "contamination" in page.split("## What")[0]


def test_a_pool_that_shares_nothing_says_so(make_pool, report):
    pool = make_pool([{"id": "a", "prompt": "p", "response": "r"}])
    texts = {name: ("text", lambda _: "") for name in ("passage", "file")}
    counts = {name: ("int", lambda _: 0) for name in ("n", "longest", "file_row")}
    score(pool, "contamination", counts | texts)
    document, page = report(pool, as_markdown=True)
    said = "No example shares a run of words with the files of contamination."
    assert page.count(said) == 2
    assert [one["level"] for one in document["warnings"]] == ["note"]


def test_a_benchmark_shows_examples_of_each_kind_of_overlap(fruit, report, tmp_path):
    rows = [
        {"prompt": "Say 0.", "response": f"Well, {LONG.replace(' ', ', ')} 0!"},
        {"prompt": "Ask 1.", "response": "yes"},
        {"prompt": "Count", "response": f"Begin: {LONG.upper()}"},
    ]
    bench = write_rows(tmp_path / "bench.jsonl", rows)
    _, page = report(fruit, benchmarks=(str(bench),), as_markdown=True)
    section = page.split("### Some of what is shared with bench\n")[1].split("###")[0]
    assert "| the whole example | - | Say 0. | Say 0. |" in section
    assert "| the prompt | - | Ask 1. | Ask 1. |" in section
    assert f"| 13 words in a row | well {LONG.removesuffix(' thirteen')} | Say " in section
    assert section.count("| 13 words in a row |") == 4


def test_a_proof_shows_what_its_target_shares(proof_file, report):
    document = proof_document()
    shared = {
        "what": "the prompt", "passage": "", "pool_id": "a1" * 16, "pool_text": "<b>Who?",
        "target_text": "who?",
    }  # fmt: skip
    document["targets"][0]["shared"] = [shared]
    _, page = report(None, proof=proof_file(document))
    assert "Some of what the pool shares with test" in parse(page).text
    assert "&lt;b&gt;Who?" in page


def test_headings_name_selections_without_ids(colours, report):
    made = [colours.select("random", budget=4, seed=seed) for seed in (0, 1)]
    ids = tuple(one.id for one in made)
    _, page = report(colours, selections=ids, as_markdown=True)
    headings = re.findall(r"^#+ .*$", page, re.MULTILINE)
    names = [f"random 4 ({k} of 2)" for k in (1, 2)]
    assert [h for h in headings if h.startswith("## Selection")] == [
        f"## Selection: {name}" for name in names
    ]
    assert f"|  | {names[0]} | {names[1]} |" in page
    assert not [h for h in headings if re.search(r"[0-9a-f]{6,}", h)]
    lead = page.split("\n## ")[0]
    assert all(f"- {name} keeps 4 examples of 12 (33.3%), " in lead for name in names)
    assert all(f"| selection_id | {one} |" in page for one in ids)


def test_a_benchmark_that_is_missing_is_named(fruit, report, tmp_path):
    with pytest.raises(DataError, match="gone.jsonl"):
        report(fruit, benchmarks=(str(tmp_path / "gone.jsonl"),))
