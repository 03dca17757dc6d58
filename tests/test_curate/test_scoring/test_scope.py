"""Scoring the examples of a selection alone: partial score sets, and who may read them."""

import json
from contextlib import suppress

import numpy as np
import pytest
from tiny_nli import save_tiny_nli

import curate as cu
from curate.errors import ConfigError, DataError, ExpressionError, MissingColumnError
from curate.scoring.scope import ids_in as ids_in_scope
from curate.scoring.scope import scope_of
from curate.store.upkeep.rebuild import rebuild

SHORT = {"max_new_tokens": "5", "k_max": "2", "k": "2", "prompt": "plain"}


def write(path, numbers):
    rows = [{"prompt": f"what is {n} plus two", "response": f"it is {n + 2}"} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(write(tmp_path / "first.jsonl", range(6)))
    opened.ingest(write(tmp_path / "second.jsonl", range(6, 10)))
    return opened


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return str(save_tiny_nli(tmp_path_factory.mktemp("tiny-nli")))


def drawn(pool, n=4, seed=0):
    chosen = pool.select("random", budget=n, seed=seed)
    return chosen.id, set(chosen.rows().column("id").to_pylist())


def ids_in(pool, set_id):
    return set(pool.sql(f"select id from score_set('{set_id}')")["id"].to_list())


@pytest.mark.slow
def test_only_the_examples_of_the_selection_are_scored(pool, tiny_model):
    selection, ids = drawn(pool)
    [one] = pool.score("likelihood", model=str(tiny_model), within=selection).sets
    assert (one.n_scored, one.n_reused, one.status.n_examples) == (4, 0, 4)
    assert one.status.partial and not one.status.complete and one.status.content_hash
    assert ids_in(pool, one.status.set_id) == ids
    assert one.status.spec["run"]["within"] == selection
    [again] = pool.score("likelihood", model=str(tiny_model), within=selection).sets
    assert (again.n_scored, again.n_reused) == (0, 4)
    assert again.status.content_hash == one.status.content_hash
    assert [finding.level for finding in pool.store.check()] == ["ok"]


@pytest.mark.slow
def test_the_same_values_as_in_the_whole_pool_up_to_the_batch(pool, tiny_model):
    selection, ids = drawn(pool)
    [part] = pool.score("likelihood", model=str(tiny_model), within=selection).sets
    [whole] = pool.score("likelihood", model=str(tiny_model)).sets
    assert whole.n_scored == 10 and whole.status.complete
    found = pool.sql(
        f"select p.mean_logp as part, w.mean_logp as whole from score_set('{part.status.set_id}') p "
        f"join score_set('{whole.status.set_id}') w using (id)"
    )
    assert len(found) == len(ids)
    assert found["part"].to_list() == pytest.approx(found["whole"].to_list(), abs=1e-5)
    [reused] = pool.score("likelihood", model=str(tiny_model), within=selection).sets
    assert reused.status.set_id == whole.status.set_id, "what the pool has is not scored again"


def test_a_selection_that_changes_meanwhile_changes_nothing(pool, tiny_model):
    chosen, ids = drawn(pool)
    scope = scope_of(pool.store, chosen)
    (pool.store.parts / "selections" / f"{chosen}.parquet").unlink()
    assert set(ids_in_scope(scope.path).to_pylist()) == ids and sum(scope.counts.values()) == 4


def test_another_selection_of_the_same_examples_is_the_same_set(pool, tiny_model):
    selection, ids = drawn(pool)
    [one] = pool.score("length", model=str(tiny_model), within=selection).sets
    same = pool.select("random", budget=4, include=sorted(ids), seed=3)
    [other] = pool.score("length", model=str(tiny_model), within=same.id).sets
    assert same.id != selection and other.status.set_id == one.status.set_id


@pytest.mark.slow
def test_what_a_derived_score_reads_is_scored_for_the_same_examples(pool, roomy_model, nli):
    arguments = {"model": str(roomy_model), "model_for": {"nli": nli}}
    pool.score("reflection", **arguments)
    selection, ids = drawn(pool, 3)
    report = pool.score("confidence", within=selection, settings=SHORT, **arguments)
    found = {one.alias: one.status for one in report.sets}
    counts = {alias: status.n_examples for alias, status in found.items()}
    assert counts == {"confidence": 3, "nli-consistency": 3, "samples": 3, "reflection": 10}
    assert not found["reflection"].partial, "the whole pool had it"
    assert ids_in(pool, found["confidence"].set_id) == ids
    facts = report.facts()
    own = sum(found[alias].tokens for alias in ("samples", "nli-consistency"))
    assert (facts["n_examples"], facts["tokens"]) == (3, own)


def test_nothing_reads_a_partial_set_that_does_not_name_it(pool, tiny_model):
    selection, _ = drawn(pool)
    pool.score("mtld", within=selection)
    assert pool.sql("select * from scores").columns == ["id"]
    with pytest.raises(ExpressionError, match="unknown column 'mtld.mtld'"):
        pool.select("top-k", budget=2, rank="mtld.mtld")
    pool.score("length", model=str(tiny_model), within=selection)
    with pytest.raises(MissingColumnError, match=r"'length' \(scorer length\) is not complete for"):
        pool.select("random", budget="50tok")


def test_a_view_of_a_partial_set_holds_its_examples(pool, tiny_model):
    selection, ids = drawn(pool)
    [one] = pool.score("length", model=str(tiny_model), within=selection).sets
    bind = {"length": one.status.set_id}
    view = pool.store.view(bind=bind)
    assert {i.decode() for i in view.ids} == ids
    assert view.excluded == {"not scored": 6}
    assert pool.store.view(bind=bind, within=selection).excluded == {"not in selection": 6}


def test_embeddings_of_a_part_are_read_back(pool, tiny_model):
    selection, ids = drawn(pool)
    [one] = pool.score("embedding", model=str(tiny_model), within=selection).sets
    view = pool.store.view(bind={"embedding": one.status.set_id})
    assert {i.decode() for i in view.ids} == ids
    assert view.vectors("embedding.vector").take(np.arange(4)).shape == (4, 32)


@pytest.mark.slow
def test_a_rebuilt_store_and_forgotten_examples_keep_the_part(pool, tiny_model):
    selection, ids = drawn(pool)
    [one] = pool.score("length", model=str(tiny_model), within=selection).sets
    rebuild(pool.store.path)
    [status] = pool.store.score_sets()
    assert (status.partial, status.content_hash) == (True, one.status.content_hash)
    gone = min(ids)
    pool.store.forget(f"id = '{gone}'")
    [status] = pool.store.score_sets()
    assert status.n_examples == 3 and ids_in(pool, status.set_id) == ids - {gone}
    pool.store.forget(" or ".join(f"id = '{i}'" for i in sorted(ids)[1:]))
    [status] = pool.store.score_sets()
    assert status.n_examples == 0
    assert [finding.level for finding in pool.store.check()] == ["ok"]


def test_what_does_not_go_with_a_part_is_named(pool, tiny_model):
    selection, _ = drawn(pool)
    model = str(tiny_model)
    pool.score("embedding", model=model)
    with pytest.raises(ConfigError, match="'knn' sees the whole pool at once and cannot score the"):
        pool.score("knn", model=model, settings={"i": "1"}, within=selection)
    with pytest.raises(ConfigError, match="'trajectory' sees the whole pool at once"):
        pool.score("trajectory", model_for={"proxy": model}, within=selection)
    with pytest.raises(ConfigError, match=f"--within {selection} scores part of it; leave one"):
        pool.score("length", model=model, within=selection, dry_run=True)
    with pytest.raises(DataError, match="no selection '0123456789abcdef' in the store"):
        pool.score("length", model=model, within="0123456789abcdef")


def test_the_command_line_scores_a_part(pool, monkeypatch, capsys):
    from curate.cli import main

    selection, _ = drawn(pool)
    arguments = ["--scorer", "mtld", "--within", selection, "--store", str(pool.store.path)]
    monkeypatch.setattr("sys.argv", ["curate", "score", *arguments, "--json"])
    with suppress(SystemExit):
        main()
    [one] = json.loads(capsys.readouterr().out)["score_sets"]
    assert (one["n_scored"], one["n_failed"]) == (4, 0)
