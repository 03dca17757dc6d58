import json

import numpy as np
import pytest

import curate as cu
from curate.contracts import Vectors, View
from curate.errors import ConfigError
from curate.scorers.minhash import MinHashOf
from curate.scorers.near_duplicate import NearDuplicate

TEXT = "The sea is blue because water takes the red out of the light that falls through it"
OTHER = "A tree is green because its leaves take the red and the blue out of the light of day"


def write(path, *responses):
    rows = [{"prompt": f"Why? {row}", "response": text} for row, text in enumerate(responses)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def pool(tmp_path):
    pool = cu.open(tmp_path / "pool.duckdb", create=True)
    pool.ingest(write(tmp_path / "a.jsonl", TEXT, OTHER, TEXT.upper() + "!"))
    return pool


def test_copies_are_columns_that_a_selection_filters_by(pool):
    report = pool.score("near_duplicate", settings={"part": "response"})
    assert [one.alias for one in report.sets] == ["near_duplicate", "minhash"]
    found = pool.sql(
        "select s.near_duplicate as d, e.id, response from scores s join examples e on e.id = s.id "
        "order by s.id"
    )
    by_text = {row["response"]: row for row in found.to_dicts()}
    alike = [by_text[TEXT], by_text[TEXT.upper() + "!"]]
    first, copy = sorted(alike, key=lambda row: row["id"])
    assert (first["d"]["is_copy"], copy["d"]["is_copy"]) == (False, True)
    assert first["d"]["representative"] == copy["d"]["representative"] == first["id"]
    assert first["d"]["cluster"] == copy["d"]["cluster"] != by_text[OTHER]["d"]["cluster"]
    assert [row["d"]["size"] for row in (first, copy, by_text[OTHER])] == [2, 2, 1]
    assert copy["d"]["similarity"] == 1.0
    kept = pool.select("random", budget=2, where="not near_duplicate.is_copy").to_polars()
    assert sorted(kept["response"]) == sorted([OTHER, first["response"]])


def test_an_append_hashes_only_what_is_new(pool, tmp_path):
    pool.score("near_duplicate", settings={"part": "response"})
    pool.ingest(write(tmp_path / "b.jsonl", f"So: {OTHER}", "Nothing of the kind was said"))
    report = pool.score("near_duplicate", settings={"part": "response"})
    counts = {one.alias: (one.n_scored, one.n_reused) for one in report.sets}
    assert counts == {"near_duplicate": (5, 0), "minhash": (2, 3)}
    n = pool.sql("select sum(near_duplicate.is_copy::int) as n from scores")["n"].item()
    assert n == 2


def test_parts_are_compared_apart():
    prompts, responses = ["one two", "one two", "three"], ["four", "five", "five"]

    def copies(part):
        scorer = NearDuplicate(part=part)
        view = View(
            np.array([b"a", b"b", b"c"]),
            vectors_by_column={"minhash.bands": Vectors(np.array([[1, 2]] * 3))},
            texts=lambda rows: iter([(np.arange(len(rows)), prompts, responses)]),
        )
        return scorer.run(view, "cpu")["is_copy"].tolist()

    assert copies("prompt") == [False, True, False]
    assert copies("response") == [False, False, True]
    assert copies("full") == [False, False, False]


@pytest.mark.parametrize("cls", [NearDuplicate, MinHashOf])
def test_settings_that_mean_nothing_are_refused(cls):
    with pytest.raises(
        ConfigError, match=r"\.threshold=80 is an overlap, above 0 and at most 1; try 0.8"
    ):
        cls(threshold=80)
    with pytest.raises(ConfigError, match="counts words, at least 1, got 0; try 5"):
        cls(ngram=0)
    with pytest.raises(ConfigError, match="counts permutations, at least 2, got 1; try 128"):
        cls(num_perm=1)


@pytest.mark.parametrize(("place", "overlap"), [(0, 21 / 23), (12, 17 / 27)])
def test_many_turns_are_measured_on_the_text_that_is_hashed(tmp_path, place, overlap):
    rows = []
    for pair in range(60):
        words = [f"w{pair}x{turn}" for turn in range(26)]
        for changed in (words, [*words[:place], "other", *words[place + 1 :]]):
            rows.append(
                [
                    {"role": ("user", "assistant")[turn % 2], "content": word}
                    for turn, word in enumerate(changed)
                ]
            )
    path = tmp_path / "turns.jsonl"
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in rows))
    pool = cu.open(tmp_path / "turns.duckdb", create=True)
    pool.ingest(str(path))
    pool.score("near_duplicate", settings={"threshold": "0.6"})
    found = pool.sql("select s.near_duplicate as d from scores s where s.near_duplicate.is_copy")
    similarity = [row["d"]["similarity"] for row in found.to_dicts()]
    assert similarity == pytest.approx([overlap] * len(similarity))
    assert len(similarity) >= (60 if place == 0 else 50)  # bands miss some just above the threshold
