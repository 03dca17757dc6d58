"""What a page says of a store, against numbers worked out by hand and against slow references."""

import random
import re

import numpy as np
import pytest
from reported import COLOURS, colour_rows, quality, score, write_rows

from curate.views.report.chosen import (
    mean_ratio,
    ordering,
    percentile,
    picture,
    read_selections,
    reason_kinds,
)
from curate.views.report.pool import lengths, read_facts, read_scores
from curate.views.report.repeats import SHARED, TEMPLATE, Repeats
from curate.views.report.texts import read_texts
from curate.views.report.warned import median_place


def facts(pool):
    read = read_facts(pool.store)
    scored = read_scores(pool.store, read, pool.store.score_sets())
    return read, scored


def read_one(pool, read, scored, selection_id):
    [selection] = read_selections(pool.store, read, scored, [selection_id])
    return selection


def repeats_of(pool) -> Repeats:
    found = read_texts(pool.store, read_facts(pool.store), ()).repeats
    assert found is not None
    return found


def names(pool, rows):
    """Return the input's own ids of rows of the pool."""
    by_id = dict(
        pool.store.read("select id, external_id from rows").to_pandas().itertuples(index=False)
    )
    read = read_facts(pool.store)
    return [by_id[one] for one in read.snapshot.names(np.array(rows, dtype=np.int64))]


# Pool and scores ---------------------------------------------------------------------------------


def test_the_pool_is_read_in_order_of_id(colours):
    read, _ = facts(colours)
    assert len(read) == 12
    assert read.snapshot.ids.tolist() == sorted(read.snapshot.ids.tolist())
    assert sorted(read.source_names) == ["cold", "warm"]
    assert np.bincount(read.groups).tolist() == [2] * 6
    chars = read_texts(colours.store, read, ()).response_chars
    shown = dict(zip(names(colours, range(12)), chars.tolist(), strict=True))
    assert shown["red-1"] == 3
    assert shown["gold-2"] == len(" ".join(["gold"] * 12))


def test_scores_stand_beside_their_example_and_failures_are_none(colours):
    score(
        colours, "half", {"x": ("int", lambda n: 7)}, lambda n: "poison" if n == "red-1" else None
    )
    _, scored = facts(colours)
    value = scored[0].column("value")
    by_name = dict(zip(names(colours, range(12)), value.values.tolist(), strict=True))
    assert by_name == {row["id"]: quality(row["id"]) for row in colour_rows()}
    assert scored[1].failures == {"poison": 1}
    assert (len(scored[1].column("x").finite), scored[1].column("y")) == (11, None)


def test_examples_are_placed_in_any_order(colours):
    snapshot = facts(colours)[0].snapshot
    added = colours.store.read("select id from examples")["id"].to_pylist()
    ids = np.array([one.encode() for one in added])
    expected = snapshot.places(ids).tolist()
    assert snapshot.places_in_order(ids, 0).tolist() == expected
    assert snapshot.places_in_order(ids[4:9], 4).tolist() == expected[4:9]
    assert snapshot.places_in_order(ids[4:9], 3).tolist() == expected[4:9]
    assert snapshot.places_in_order(ids[::-1], 0).tolist() == expected[::-1]
    unknown = np.array([b"0" * 32, ids[11]])
    assert snapshot.places_in_order(unknown, 11).tolist() == [-1, expected[11]]


def test_numbers_of_a_reason_make_no_kind_of_their_own():
    reasons = ["best of 4 (-1.5)", "best of 3 (-2e-05)", None, "random", "rank ٣ of 1,000"]
    kinds = [("best of # (#)", 2), ("", 1), ("random", 1), ("rank # of #", 1)]
    assert reason_kinds(reasons) == kinds


def test_length_is_in_tokens_where_they_are_counted(colours):
    read, scored = facts(colours)
    assert lengths(read, scored).unit == "characters"
    columns = {
        "prompt_tokens": ("int", lambda n: 2),
        "response_tokens": ("int", lambda n: int(n[-1])),
    }
    score(colours, "length", columns)
    found = lengths(*facts(colours))
    assert found.unit == "tokens"
    assert sorted(set(found.values.tolist())) == [3, 4]
    assert found.ordered.tolist() == sorted(found.values.tolist())


# Selections --------------------------------------------------------------------------------------


@pytest.fixture
def top(colours):
    return colours.select(rank="quality.value", budget=4).id


@pytest.mark.slow
def test_a_selection_is_read_in_rank_order_with_its_ordering(colours, top):
    read, scored = facts(colours)
    chosen = read_one(colours, read, scored, top)
    assert names(colours, chosen.picks.rows) == ["gold-2", "gold-1", "plum-2", "plum-1"]
    assert chosen.picks.mask(12).sum() == 4
    by = ordering(chosen.picks, scored[0].columns)
    assert (by.column.label, by.sign) == ("quality.value", 1)
    lowest = colours.select(rank="-quality.value", budget=3).id
    by = ordering(read_one(colours, read, scored, lowest).picks, scored[0].columns)
    assert (by.column.label, by.sign) == ("quality.value", -1)
    grouped = colours.select("top-k", settings={"rank": "quality.value", "per_group": "2"}).id
    by = ordering(read_one(colours, read, scored, grouped).picks, scored[0].columns)
    assert by is None  # second responses come after first ones, whatever their score
    drawn = colours.select("random", budget=3).id
    assert ordering(read_one(colours, read, scored, drawn).picks, scored[0].columns) is None


def test_borderline_and_rejected_follow_the_score_of_the_selection(colours, top, monkeypatch):
    monkeypatch.setattr("curate.views.report.chosen.SHOWN", 3)
    monkeypatch.setattr("curate.views.report.chosen.NEAR_CUT", 1)
    read, scored = facts(colours)
    chosen = read_one(colours, read, scored, top)
    shown = picture(chosen, read, ordering(chosen.picks, scored[0].columns))
    assert names(colours, shown.best) == ["gold-2", "gold-1", "plum-2"]
    assert names(colours, shown.borderline) == ["plum-1", "cyan-2"]
    assert names(colours, shown.rejected) == ["cyan-1", "green-2", "red-1"]
    assert shown.borderline_note.endswith("its last picks, and the first below them.")
    assert shown.rejected_note.endswith("from the highest quality.value on.")


@pytest.mark.slow
def test_what_could_not_be_picked_is_not_among_the_rejected(colours):
    chosen = colours.select("random", budget=2, where="quality.value > 5", exclude=["gold-2"])
    within = colours.select("random", budget=1, within=chosen.id)
    read, scored = facts(colours)
    one = read_one(colours, read, scored, chosen.id)
    shown = picture(one, read, None)
    every = names(colours, [*shown.best, *shown.borderline, *shown.rejected])
    assert sorted(every) == ["cyan-1", "cyan-2", "gold-1", "plum-1", "plum-2"]
    two = read_one(colours, read, scored, within.id)
    assert (~two.barred).sum() == 2


def test_of_two_datasets_only_the_selected_one_could_be_picked(colours, tmp_path):
    rows = [{"id": f"new-{n}", "prompt": f"Add {n}.", "response": str(n)} for n in range(5)]
    chosen = colours.select("random", budget=2, data=[str(write_rows(tmp_path / "b.jsonl", rows))])
    read, scored = facts(colours)
    one = read_one(colours, read, scored, chosen.id)
    assert sorted(names(colours, np.flatnonzero(~one.barred))) == [f"new-{n}" for n in range(5)]


def test_places_among_all_values():
    ordered = np.array([1.0, 2.0, 2.0, 4.0])
    assert [percentile(ordered, v) for v in (0, 1, 2, 3, 5)] == [0, 0, 25, 75, 100]
    assert mean_ratio(np.array([1.0, 3.0, np.nan]), np.array([1, 2])) == 1.5
    assert mean_ratio(np.array([np.nan]), np.array([0])) is None


def test_the_median_pick_is_placed_with_ties_counted_half(colours, top):
    read, scored = facts(colours)
    chosen = read_one(colours, read, scored, top)
    assert median_place(scored[0].column("value").values, chosen.picks) == pytest.approx(
        100 * 10 / 12
    )
    assert median_place(np.zeros(12), chosen.picks) == 50


# Near-duplicates ---------------------------------------------------------------------------------


def reference(rows):
    """Return by id which rows repeat another: the definition, compared example by example."""
    words = {r["id"]: re.findall(r"\w+", f"{r['prompt']}\n{r['response']}".lower()) for r in rows}
    prompt = {r["id"]: r["prompt"] for r in rows}
    runs = {i: [tuple(w[k : k + 13]) for k in range(len(w) - 12)] for i, w in words.items()}
    prompts_of = {}
    for i, found in runs.items():
        for run in found:
            prompts_of.setdefault(run, set()).add(prompt[i])
    same, near = set(), set()
    for i, found in runs.items():
        if any(words[i] == words[j] for j in words if j != i):
            same.add(i)
        counted = [run for run in found if len(prompts_of[run]) <= TEMPLATE]
        shared = [run for run in counted if len(prompts_of[run]) > 1]
        if counted and len(shared) >= SHARED * len(counted):
            near.add(i)
    return same, near


def test_repeats_agree_with_the_definition_example_by_example(make_pool):
    rng = random.Random(0)
    phrases = [" ".join(rng.choices("abcdefghij", k=20)) for _ in range(6)]
    rows = []
    for n in range(90):
        body = " ".join(rng.choices(phrases, k=2)) + (f" {n} own" if n % 3 else "")
        prompt = f"Task {n if n % 4 else n // 8}: " + (body if n % 2 else body.upper() + "!")
        rows.append({"id": f"r{n}", "prompt": prompt, "response": f"Answer {n % 5}."})
    pool = make_pool(rows)
    found = repeats_of(pool)
    same, near = reference(rows)
    at = names(pool, range(len(rows)))
    assert {n for n, yes in zip(at, found.same_words.tolist(), strict=True) if yes} == same
    assert {n for n, yes in zip(at, found.same_runs.tolist(), strict=True) if yes} == near
    assert near and len(near) < 90
    assert found.one_in == 1


def test_case_and_punctuation_make_no_difference_and_are_paired(make_pool):
    rows = [
        {"id": "a", "prompt": "Say  Red.", "response": "red"},
        {"id": "b", "prompt": "say red", "response": "Red!"},
        {"id": "c", "prompt": "say red", "response": "blue"},
    ]
    pool = make_pool(rows)
    found = repeats_of(pool)
    assert found.same_words.sum() == 2
    assert [set(names(pool, pair)) for pair in found.pairs] == [{"a", "b"}]


def test_responses_to_one_prompt_and_a_shared_instruction_are_no_repeats(make_pool):
    long = "Read the passage and answer in one word, thinking about every part of it with care: "
    rows = [
        {"id": f"{n}-{k}", "prompt": f"{long} passage number {n}", "response": f"reply {n} {k}"}
        for n in range(TEMPLATE + 1)
        for k in range(2)
    ]
    pool = make_pool(rows)
    assert not repeats_of(pool).any.any()
    fewer = facts(make_pool([]))[0]
    assert len(fewer) == len(rows)


def test_a_pool_too_large_to_hold_is_sampled_by_words(make_pool, monkeypatch):
    monkeypatch.setattr("curate.views.report.repeats.MAX_RUNS", 400)
    body = " ".join(f"w{k}" for k in range(200))
    rows = [{"id": f"{n}", "prompt": f"{n} {body}", "response": "x"} for n in range(6)]
    pool = make_pool(rows)
    found = repeats_of(pool)
    assert found.one_in > 1
    assert found.same_runs.all()
    assert len(COLOURS) == len(found.pairs)
