"""Why a selection lacks an example is told from stored facts, and checked by doing it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import curate as cu
from curate.api.pool import Pool
from curate.errors import DataError
from curate.select.rankings import Rankings, StoredRanking
from curate.select.why_not import MAX_RANKED, Exclusion, absences


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Twelve examples of two sources; example i has i more words than the first."""
    rows = [
        {
            "id": f"e{i}",
            "prompt": f"Say {i:02d}.",
            "response": "x" + " and" * i,
            "source": f"s{i % 2}",
        }
        for i in range(12)
    ]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(path))
    return pool


def why(pool: Pool, example: str, *selections: str) -> Exclusion:
    (found,) = absences(pool.store, pool.store.example(example), selections)
    return found


def test_the_budget_it_names_would_have_had_it_and_one_less_would_not(pool: Pool) -> None:
    chosen = pool.select(rank="n_chars", budget=4)
    found = why(pool, "e5")
    assert (found.cause, found.rank, found.n_ranked, found.needs) == ("ranked below", 7, 12, "7")
    assert (found.gain, found.last_gain) == (28.0, 40.0)
    assert found.text == (
        "rank 7 of 12, and 4 were kept; --budget 7 would include it. Its gain is 28, the last "
        "one kept has 40: a gain above that, all else equal, would also include it (n_chars = 28)"
    )
    assert found.n_selected == len(chosen)
    ids = {n: pool.select(rank="n_chars", budget=n).rows()["id"].to_pylist() for n in (6, 7)}
    wanted = pool.store.example("e5")["id"]
    assert (wanted in ids[6], wanted in ids[7]) == (False, True)


@pytest.mark.slow
def test_a_random_selection_has_a_rank_and_no_gain(pool: Pool) -> None:
    seed = 1
    chosen = pool.select("random", budget=3, seed=seed)
    kept = set(chosen.rows()["id"].to_pylist())
    for i in range(6):
        document = pool.store.example(f"e{i}")
        if document["id"] in kept:
            assert absences(pool.store, document, [chosen.id]) == []
            continue
        found = why(pool, f"e{i}", chosen.id)
        assert found.gain is None
        assert found.needs is not None
        larger = pool.select("random", budget=int(found.needs), seed=seed)
        assert larger.rows()["id"].to_pylist()[-1] == document["id"]


@pytest.mark.parametrize(
    ("options", "cause", "text"),
    [
        ({"where": "n_chars > 30"}, "filtered", "it does not satisfy --where 'n_chars > 30'"),
        ({"exclude": ["e5"]}, "filtered", "--exclude names it"),
        (
            {"quota": {"s1": "2"}},
            "quota",
            "the --quota of its source 's1' was filled by examples that rank higher",
        ),
        ({"include": ["e0"]}, "ranked below", "rank 8 of 12, and 4 were kept; --budget 8 would"),
        ({"settings": {"per_group": "1"}}, "ranked below", "rank 7 of 12"),
    ],
)
def test_what_kept_it_out_is_named(
    pool: Pool, options: dict[str, Any], cause: str, text: str
) -> None:
    pool.select(rank="n_chars", budget=4, **options)
    found = why(pool, "e5")
    assert found.cause == cause
    assert found.text.startswith(text)


def test_a_missing_value_is_not_taken_for_a_condition(tmp_path: Path) -> None:
    rows = [{"id": f"e{i}", "prompt": f"Say {i}.", "response": "x", "q": i} for i in range(4)]
    del rows[3]["q"]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(path))
    pool.select(rank="row.q", budget=1, where="n_chars > 1 and prompt != 'Say 0.'")
    assert why(pool, "e3").text == "it has no value for something the method reads"
    assert why(pool, "e0").text.startswith("it does not satisfy --where ")


def test_a_share_of_what_a_method_keeps_by_itself_is_explained(tmp_path: Path) -> None:
    def row(i: int, last: str) -> dict[str, str]:
        words = [*(f"word{i}of{j}" for j in range(40)), last]
        source = f"s{i % 2}"
        return {
            "id": f"e{i}{last}",
            "prompt": f"{i}",
            "response": " ".join(words),
            "source": source,
        }

    rows = [row(i, "") for i in range(10)] + [row(0, f"copy{n}") for n in range(6)]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(path))
    chosen = pool.select("dedup", quota={"s1": "25%"}, workers=1)
    assert len(chosen) == 6, "all five of s0, and one of s1"
    documents = [pool.store.example(str(row["id"])) for row in rows]
    found = [absences(pool.store, one, [chosen.id]) for one in documents]
    said = Counter(absence.text for absences_of_one in found for absence in absences_of_one)
    assert said == {
        "the --quota of its source 's1' was filled by examples that rank higher": 4,
        "without a budget dedup keeps 10 examples, of which it is none": 6,
    }


def test_a_selection_inside_another_points_to_it(pool: Pool) -> None:
    outer = pool.select(rank="n_chars", budget=6)
    inner = pool.select("random", budget=2, within=outer.id)
    found = why(pool, "e5", inner.id)
    assert found.cause == "filtered"
    assert found.text == f"it was made within selection {outer.id}, which does not include it"


def test_an_example_added_later_is_in_none_of_the_datasets(pool: Pool, tmp_path: Path) -> None:
    pool.select(rank="n_chars", budget=4)
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"id": "new", "prompt": "p", "response": "r"}) + "\n")
    (report,) = pool.ingest(str(more))
    found = why(pool, "new")
    assert found.cause == "not in its pool"
    assert found.text.endswith(f"selected from; select from {report.dataset_id} too")


def test_what_cannot_be_known_is_said(pool: Pool) -> None:
    store = pool.store
    example = store.example("e5")
    record = pool.select(rank="n_chars", budget=2).document
    other = store.example("e0")["id"]
    rows = pa.table({"id": [other], "rank": [1], "gain": [1.0], "weight": [1.0], "reason": [""]})
    changes: list[tuple[dict[str, Any], str]] = [
        ({}, "recomputing the ranking from stored scores gives another selection"),
        ({"method": "kmq"}, "what kmq picks depends on how many are asked for"),
        ({"method": "pipeline"}, "pipeline is a procedure of several selections"),
        ({"method": "nosuch"}, "recomputing the ranking from stored scores fails: no "),
        (
            {"score_sets": {"a": {"set_id": "0" * 16, "content_hash": "1"}}},
            f"score set {'0' * 16} (a) was deleted",
        ),
    ]
    for i, (change, text) in enumerate(changes):
        store.save_selection({**record, **change, "selection_id": f"made{i}"}, rows)
        (found,) = absences(store, example, [f"made{i}"])
        assert found.cause == "unknown"
        assert found.text.startswith(f"unknown: {text}")
    store.save_selection({"selection_id": "bare", "method": "random"}, rows)
    (found,) = absences(store, example, ["bare"])
    assert found.text == "unknown: its record does not say how it was made"


@pytest.mark.slow
def test_only_the_newest_are_ranked_again_unless_asked(pool: Pool) -> None:
    ids = [pool.select("random", budget=1, seed=seed).id for seed in range(9)]
    lacking = absences(pool.store, pool.store.example("e5"))
    ranked = [one for one in lacking if one.cause == "ranked below"]
    assert len(ranked) == MAX_RANKED
    assert [one.selection_id for one in ranked] == [
        one.selection_id for one in lacking[:MAX_RANKED]
    ]
    assert lacking[-1].text.endswith(f"--selection {lacking[-1].selection_id}")
    assert why(pool, "e5", lacking[-1].selection_id).cause == "ranked below"
    assert {one.selection_id for one in lacking} <= set(ids)
    with pytest.raises(DataError, match="no selection 'nosuch' in the store"):
        why(pool, "e5", "nosuch")


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [1, 10**9])
def test_answers_are_the_same_whatever_is_kept_of_other_answers(
    pool: Pool, most_bytes: int
) -> None:
    pool.select(rank="n_chars", budget=4)
    pool.select(rank="n_chars", budget=4, quota={"s1": "2"})
    pool.select(rank="n_chars", budget=4, include=["e0"])
    pool.select("random", budget=3, seed=1, where="n_chars > 12")
    rankings = Rankings(most_bytes)
    for i in range(12):
        document = pool.store.example(f"e{i}")
        kept = absences(pool.store, document, (), rankings)
        assert kept == absences(pool.store, document)


def test_a_selection_is_ranked_once_for_all_who_ask(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [pool.select("random", budget=1, seed=seed).id for seed in range(2)]
    made: list[str] = []

    def counted(store: Any, selection_id: str) -> StoredRanking:
        made.append(selection_id)
        return StoredRanking(store, selection_id)

    monkeypatch.setattr("curate.select.rankings.StoredRanking", counted)
    documents = [pool.store.example(f"e{i}") for i in range(12)]
    both = [one for one in documents if not one["selections"]][:4]
    rankings = Rankings()
    for document in both:
        assert len(absences(pool.store, document, (), rankings)) == 2
    assert sorted(made) == sorted(chosen)
    made.clear()
    one = Rankings(most_bytes=1)  # keeps the last one all the same
    for document in both:
        assert len(absences(pool.store, document, chosen[:1], one)) == 1
    assert made == chosen[:1]
