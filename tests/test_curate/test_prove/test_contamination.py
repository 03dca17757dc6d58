import json

import pytest

from curate.errors import ConfigError, DataError
from curate.prove.contamination import Overlap, find_overlap
from curate.prove.targets import read_targets

SENTENCE = "the quick brown fox jumps over the lazy dog while seven wise owls watch from a tree"


def write(path, pairs):
    rows = [{"prompt": prompt, "response": response} for prompt, response in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def fresh(tmp_path):
    import curate as cu

    def make(pairs):
        opened = cu.open(tmp_path / "curate.duckdb", create=True)
        opened.ingest(write(tmp_path / "pool.jsonl", pairs))
        return opened.store

    return make


def overlap(store, tmp_path, pairs):
    [target] = read_targets([write(tmp_path / "t.jsonl", pairs)])
    return find_overlap(store, target)


def test_each_kind_of_overlap_is_counted(fresh, tmp_path):
    words = SENTENCE.split()
    store = fresh([("Say red.", "red"), ("Say  Blue.", "blue"), ("Tell me more", SENTENCE)])
    found = overlap(
        store,
        tmp_path,
        [
            ("Say red.", "red"),  # the same example
            ("say blue.", "azure"),  # the same prompt
            ("Repeat", " ".join(words[2:15]).upper()),  # 13 words in a row
            ("Repeat", " ".join(words[2:14])),  # 12 words in a row
            ("Say green.", "green"),
        ],
    )
    assert found.as_dict() == {
        "n_examples": 5, "same_example": 1, "same_prompt": 2, "same_13_words": 1, "any": 3,
    }  # fmt: skip
    assert found.in_pool == {row["id"] for row in store.read("select id from examples").to_pylist()}
    with pytest.raises(DataError, match="3 of 5 examples of target 't' overlap.*--allow-overlap"):
        found.refuse()


def test_words_of_two_examples_make_no_run(fresh, tmp_path):
    words = SENTENCE.split()
    store = fresh([("a", " ".join(words[:7])), ("b", " ".join(words[7:14]))])
    found = overlap(store, tmp_path, [("c", " ".join(words[:14]))])
    assert found.ids == found.in_pool == frozenset()
    found.refuse()


def test_a_few_shared_phrases_are_no_contamination():
    phrases = frozenset({"a"})
    few = Overlap("t", 100, frozenset(), frozenset(), phrases)
    few.refuse()
    for more in (
        Overlap("t", 99, frozenset(), frozenset(), phrases),
        Overlap("t", 1000, frozenset(), phrases, frozenset()),
        Overlap("t", 1000, phrases, frozenset(), frozenset()),
    ):
        with pytest.raises(DataError, match="1 of .* examples of target 't' overlap"):
            more.refuse()


def test_what_overlaps_can_be_left_out(fresh, tmp_path):
    store = fresh([("Say red.", "red")])
    path = write(tmp_path / "t.jsonl", [("Say red.", "red"), ("Say green.", "green")])
    [target] = read_targets([path])
    found = find_overlap(store, target)
    rest = target.without(set(found.ids))
    assert [prompt for prompt, _ in rest.texts] == ["Say green."]
    with pytest.raises(DataError, match="nothing left that is not in the pool"):
        rest.without({row.id for row in rest.rows})


def test_a_target_is_distinct_in_order_of_id_and_evenly_thinned(target_file):
    [target] = read_targets([str(target_file), str(target_file)])[:1]
    assert target.name == "target-1"
    ids = [row.id for row in target.rows]
    assert ids == sorted(set(ids))
    [few] = read_targets([str(target_file)], limit=6)
    assert [row.id for row in few.rows] == ids[::4]


def test_slices_are_by_source_category_and_length(target_file):
    import numpy as np

    [target] = read_targets([str(target_file)])
    ids = [row.id for row in target.rows]
    slices = target.slices(ids, np.arange(24))
    assert set(slices) == {"source: left", "source: right", "category: sum-0", "category: sum-1"}
    assert (slices["source: left"] == slices["category: sum-0"]).all()
    doubled = target.slices(ids + ids, np.arange(48))
    thirds = [name for name in doubled if name.startswith("response length")]
    assert thirds == [f"response length: {kind}" for kind in ("short", "medium", "long")]
    assert sum(doubled[name].sum() for name in thirds) == 48


def test_wrong_targets_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs a target set; add --target FILE"):
        read_targets([])
    with pytest.raises(DataError, match="missing.jsonl"):
        read_targets([str(tmp_path / "missing.jsonl")])
    with pytest.raises(ConfigError, match="--target-limit must be at least 1, got 0"):
        read_targets(["x"], limit=0)
