"""Searching the texts of the pool."""

import numpy as np
import pytest
from reported import write_rows

import curate as cu
from curate.errors import ConfigError
from curate.store.query.searching import search

ROWS = [
    ("once", "A cat sat."), ("twice", "The cat and the Cat."), ("phrase", "the black cat ran far away"),
    ("dog", "A dog ran."), ("quote", "it's 100% 'fine' _ \\ ok"), ("greek", "ΣΟΦΙΑ straße"),
]  # fmt: skip


@pytest.fixture
def find(tmp_path):
    rows = [{"id": name, "prompt": f"Tell {name}", "response": text} for name, text in ROWS]
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(write_rows(tmp_path / "pool.jsonl", rows)))
    snapshot = pool.store.snapshot()
    names = {
        row["id"]: row["external_id"]
        for row in pool.store.read("select id, external_id from rows").to_pylist()
    }

    def look(query):
        mask, relevance = search(snapshot, query)
        assert (relevance[~mask] == 0).all() and (relevance[mask] > 0).all()
        found = np.flatnonzero(mask)
        best = found[np.argsort(-relevance[found], kind="stable")]
        return [names[name] for name in snapshot.names(best)]

    look.snapshot = snapshot
    return look


def test_best_matches_come_first_whatever_the_case(find):
    assert find("cat") == ["twice", "once", "phrase"]
    assert find("CAT") == ["twice", "once", "phrase"]


def test_every_word_must_occur_and_phrases_whole(find):
    assert find("cat ran") == ["phrase"]
    assert find('"black cat"') == ["phrase"]
    assert find('"cat black"') == []
    assert sorted(find("cat -black")) == ["once", "twice"]
    assert find('ran -"black cat"') == ["dog"]


@pytest.mark.parametrize("query", ["it's", "100%", "'fine'", "_", "\\"])
def test_signs_are_looked_for_as_they_are(find, query):
    assert find(query) == ["quote"]


def test_letters_of_any_script(find):
    assert find("σοφια") == find("STRAßE") == ["greek"]


def test_the_beginning_of_an_id_finds_its_example(find):
    name = find.snapshot.names(np.array([2]))[0]
    assert len(find(name[:12])) == 1


def test_bm25_by_hand(find):
    _, relevance = search(find.snapshot, "dog")
    # 1 of 6 has it, 3 times (in the prompt "Tell dog" too: 2); its length against that of the cut
    [value] = relevance[relevance > 0]
    rarity = np.log1p((6 - 1 + 0.5) / (1 + 0.5))
    assert value == pytest.approx(rarity * 2 * 2.2 / (2 + 1.2))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("-cat", "has no word that must occur"), ("   ", "has no word that must occur"),
        (" ".join(f"w{k}" for k in range(17)), "has 17 words, but at most 16 are searched for"),
        ("a\0b", "contains a character that cannot be stored"),
        ("\ud800", "contains a character that cannot be stored"),
    ],
)  # fmt: skip
def test_searches_that_cannot_be(find, query, message):
    with pytest.raises(ConfigError, match=message):
        search(find.snapshot, query)
