"""Names of selections: given, listed, changed, used wherever a selection is, and deleted."""

import json
from pathlib import Path

import pytest

from curate.store import Store


@pytest.fixture
def chosen(curate, pool_file: Path) -> tuple[str, str]:
    """Ids of a random selection named ``some`` and of a later one by length without a name."""
    first = curate("select", pool_file, "--method", "random", "-b", "6", "--name", "some", "--json")
    second = curate("select", "--rank", "n_chars", "-b", "3", "--json")
    return first.json["selection_id"], second.json["selection_id"]


def test_a_name_stands_for_its_selection_everywhere(curate, chosen: tuple[str, str]) -> None:
    some, longest = chosen
    for word, method in (("some", "random"), ("latest", "top-k"), ("latest:random", "random")):
        made = curate("export", "--selection", word, "-o", f"{method}-{word[:6]}.jsonl", "--json")
        assert made.code == 0, made.err
        assert made.json["selection_id"] == (some if method == "random" else longest)
    inside = curate("select", "--method", "random", "-b", "2", "--within", "some", "--json").json
    assert inside["n_eligible"] == 6
    rest = curate("select", "--method", "random", "-b", "20", "--exclude", "some", "--json").json
    assert rest["n_eligible"] == 20
    rows = Store(Path("curate.duckdb")).selection_rows("some")["id"].to_pylist()
    assert not set(rows) & set(
        Store(Path("curate.duckdb")).selection_rows(rest["selection_id"])["id"].to_pylist()
    )


def test_they_are_listed_with_their_names(curate, chosen: tuple[str, str]) -> None:
    listed = curate("selections", "--json").json["selections"]
    assert [(row["selection_id"], row["name"], row["internal"]) for row in listed] == [
        (chosen[0], "some", False),
        (chosen[1], None, False),
    ]
    assert "some" in curate("selections").out
    assert "some" in curate("status").out
    assert curate("status", "--json").json["selections"][0]["name"] == "some"


def test_a_name_can_be_changed_and_survives_a_rebuild(curate, chosen: tuple[str, str]) -> None:
    renamed = curate("selections", "rename", "latest", "longest")
    assert renamed.out == f"selection {chosen[1]} (top-k, 3 examples) is now longest\n"
    taken = curate("selections", "rename", "longest", "some")
    assert taken.code == 2
    assert taken.err == (
        f"ConfigError: selection {chosen[0]} has the name 'some'; choose another, or rename that one: "
        f"curate selections rename {chosen[0]} NEW\n"
    )
    again = curate("select", "--method", "random", "-b", "6", "--json").json  # the same selection
    assert again["selection_id"] == chosen[0]
    Path("curate.duckdb").unlink()
    assert curate("doctor", "--rebuild").code == 0
    listed = curate("selections", "--json").json["selections"]
    assert {row["name"]: row["selection_id"] for row in listed} == {
        "some": chosen[0],
        "longest": chosen[1],
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("latest", "cannot be named 'latest', which means the newest one"),
        ("0123abcd", "cannot be named '0123abcd', which looks like an id"),
        ("a/b", "'a/b' is no name for a selection; use letters, digits, dot, dash and underscore"),
    ],
)
def test_a_name_that_means_something_else_is_refused_before_the_work(
    curate, pool_file: Path, name: str, why: str
) -> None:
    ran = curate("select", pool_file, "--method", "random", "-b", "6", "--name", name)
    assert ran.code == 2
    assert why in ran.err
    assert curate("status").code != 0 or not curate("status", "--json").json["selections"]


def test_deleting_asks_and_keeps_what_others_were_made_from(
    curate, chosen: tuple[str, str]
) -> None:
    asked = curate("selections", "delete", "some")
    assert asked.code == 2
    assert asked.err.startswith("ConfigError: nobody can be asked here whether to delete selection")
    inner = curate("select", "--method", "random", "-b", "2", "--within", "some", "--json").json
    kept = curate("selections", "delete", "some", "--yes")
    assert kept.err == (
        f"ConfigError: selection {chosen[0]} is kept: selection {inner['selection_id']} was made from it\n"
    )
    assert curate("selections", "delete", inner["selection_id"], "--yes").code == 0
    gone = curate("selections", "delete", "some", "--yes", "--json")
    assert gone.json == {"deleted": chosen[0]}
    assert not list(Path("curate.parts/selections").glob(f"{chosen[0]}*"))
    missing = curate("export", "--selection", "some", "-o", "x.jsonl")
    assert missing.err.startswith("DataError: no selection 'some' in the store; the newest are:")
    assert json.loads(Path("curate.parts/selection-names.json").read_text()) == {chosen[1]: None}


def test_words_that_do_not_fit_say_what_to_type(curate, chosen: tuple[str, str]) -> None:
    assert curate("selections", "rename", "some").err == (
        "ConfigError: rename got some; type: curate selections rename SELECTION NEW\n"
    )
    unknown = curate("export", "--selection", "latest:randon", "-o", "x.jsonl")
    assert "no selection by 'randon' in the store; did you mean 'random'" in unknown.err
    near = curate("export", "--selection", "sme", "-o", "x.jsonl")
    assert "no selection 'sme' in the store; did you mean 'some'" in near.err
