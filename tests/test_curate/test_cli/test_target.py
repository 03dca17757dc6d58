"""`curate target`: add, list, remove, and what is asked before anything is removed."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """Two examples of the pool and one that is not in it."""
    rows = [
        {"prompt": "Count to 4.", "response": "4"},
        {"prompt": "Count to 5.", "response": "5"},
        {"prompt": "Count to 6.", "response": "6"},
    ]
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_target_is_added_listed_and_removed(curate, pool_file: Path, dev: Path) -> None:
    curate("ingest", pool_file)
    added = curate("target", "add", "dev", dev)
    assert added.out == ("target set dev: 3 rows, 3 examples; 2 of them are in the pool of 26\n")
    assert "warning: target dev: 2 of its 3 examples are in the pool too" in added.err
    assert "(already in the store)" in curate("target", "add", "dev", dev).out
    assert "dev" in curate("target", "list").out and "target sets" in curate("status").out
    [listed] = curate("target", "list", "--json").json["targets"]
    assert listed == curate("status", "--json").json["targets"][0]
    assert (listed["n_examples"], listed["n_in_pool"], listed["n_pool"]) == (3, 2, 26)
    assert curate("status", "--json").json["n_examples"] == 26
    assert curate("target", "remove", "dev", "--yes", "--json").json == {"removed": "dev"}
    assert (
        "no target sets; add one with: curate target add NAME DATA" in curate("target", "list").out
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add",), "say which target set: curate target add NAME DATA"),
        (("add", "dev"), "target set 'dev' needs data; type: curate target add dev DATA"),
        (("add", "dev", "none.jsonl"), "none.jsonl"),
        (("remove",), "say which target set: curate target remove NAME"),
        (("remove", "dev"), "no target set 'dev'; this store has none; add one with: curate target add"),
        (("remove", "a", "b"), "remove takes one target set, got a b; type: curate target remove a"),
        (("list", "dev"), "list shows every target set; type: curate target list"),
        (("show",), "'show' is not one of"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit_are_one_line(curate, pool_file: Path, words, said) -> None:
    curate("ingest", pool_file)
    ran = curate("target", *words)
    assert ran.code in (1, 2) and ran.result == ""
    assert said in ran.err and len(ran.err.strip().splitlines()) <= 2


def test_nothing_is_removed_where_nobody_can_be_asked(curate, pool_file: Path, dev: Path) -> None:
    curate("ingest", pool_file)
    curate("target", "add", "dev", dev)
    ran = curate("target", "remove", "dev")
    assert ran.code == 2 or ran.code == 1
    assert "nobody can be asked here whether to remove target set 'dev'; add --yes" in ran.err
    assert len(curate("target", "list", "--json").json["targets"]) == 1
