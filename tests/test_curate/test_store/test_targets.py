"""Target sets lie beside the pool: none of its relations sees them, and they outlive the file."""

import json
from contextlib import contextmanager

import pytest

from curate.errors import ConfigError, StoreError
from curate.store import Store
from curate.store.handle import StoreHandle
from curate.store.upkeep.rebuild import rebuild


@pytest.fixture
def with_target(store, pools):
    """A pool of the examples 0 to 19, and the target ``dev`` of the examples 15 to 24."""
    pools.ingest(store, "pool", range(20))
    add(store, pools, "dev", range(15, 25))
    return store


def add(store, pools, name, numbers):
    with store.target_writer(name) as writer:
        staged = Store(writer.path)
        pools.ingest(staged, name, numbers)
        ids = staged.read("select id from examples")["id"].to_pylist()
        facts = {"content_hash": staged.pool_hash(), "data": "dev.jsonl", "created_at": "now"}
        return writer.commit(ids, {"n_rows": len(ids), **facts})


def test_its_overlap_with_the_pool_is_counted_when_it_is_added(with_target):
    [dev] = with_target.targets()
    assert (dev.name, dev.n_examples, dev.n_in_pool, dev.n_pool) == ("dev", 10, 5, 20)
    assert dev.content_hash == with_target.target("dev").pool_hash()


def test_no_relation_of_the_pool_sees_it(with_target, pools):
    before = with_target.pool_hash()
    pools.score(with_target, "quality")
    pools.score(with_target.target("dev"), "quality")
    for relation in ("examples", "rows", "scores"):
        [n] = with_target.read(f"select count(*) as n from {relation}")["n"].to_pylist()
        assert n == 20, relation
    assert (with_target.n_examples(), with_target.pool_hash()) == (20, before)
    assert len(with_target.score_sets()) == 1
    assert with_target.status()["targets"][0]["name"] == "dev"


def test_it_is_scored_under_the_keys_of_the_pool(with_target, pools):
    mine = pools.score(with_target, "quality")
    assert pools.score(with_target.target("dev"), "quality").set_id == mine.set_id
    assert with_target.target("dev").score_sets()[0].n_examples == 10


def test_the_file_is_rebuilt_with_it(with_target):
    with_target.path.unlink()
    parts = with_target.parts
    assert rebuild(with_target.path)["n_targets"] == 1
    again = Store(with_target.path, create=False)
    assert again.targets() == with_target.targets()
    assert again.target("dev").n_examples() == 10 and again.parts == parts


def test_nothing_of_it_is_garbage_until_it_is_removed(with_target):
    assert with_target.gc(dry_run=True)["n_paths"] == 0
    assert [one.level for one in with_target.check(deep=True)] == ["ok"]
    with_target.remove_target("dev")
    assert with_target.targets() == [] and with_target.gc(dry_run=True)["n_paths"] == 0
    assert not (with_target.parts / "targets" / "dev").exists()


def test_a_target_that_was_lost_is_found_missing(with_target):
    path = with_target.parts / "targets" / "dev" / "target.duckdb"
    path.unlink()
    [found] = with_target.check()
    assert found.level == "error" and str(path) in found.message


def test_a_folder_left_by_a_kill_before_it_was_recorded_is_replaced(with_target, pools):
    with with_target.write() as con:
        con.execute("delete from targets")
    assert [path.endswith("targets/dev") for path in with_target.gc(dry_run=True)["paths"]] == [
        True
    ]
    assert add(with_target, pools, "dev", range(3)).n_examples == 3
    assert with_target.target("dev").n_examples() == 3


def test_a_store_of_before_there_were_targets_gets_the_relation_with_its_first(store, pools):
    with store.write() as con:
        con.execute("drop table targets")
    assert store.targets() == [] and store.status()["targets"] == []
    assert store.gc(dry_run=True)["n_paths"] == 0
    add(store, pools, "dev", range(3))
    assert [(one.n_examples, one.n_pool) for one in store.targets()] == [(3, 0)]


def test_what_is_left_early_leaves_nothing(store, pools):
    with pytest.raises(KeyError), store.target_writer("dev") as writer:
        Store(writer.path)
        raise KeyError("dev")
    assert store.targets() == [] and not list(store.parts.glob(".staging*"))


def test_a_store_that_was_moved_keeps_its_targets(with_target, tmp_path):
    (tmp_path / "moved").mkdir()
    with_target.path.rename(tmp_path / "moved" / "curate.duckdb")
    with_target.parts.rename(tmp_path / "moved" / "curate.parts")
    moved = Store(tmp_path / "moved" / "curate.duckdb", create=False)
    texts = moved.target("dev").read("select response from examples order by response")
    assert texts["response"].to_pylist() == sorted(f"response {i}" for i in range(15, 25))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dew", "no target set 'dew'; did you mean 'dev'; there are: dev; add one with: curate target"),
        ("x y", "no target set 'x y'; there are: dev"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_with_the_nearest(with_target, name, words):
    with pytest.raises(ConfigError, match=words):
        with_target.target(name)
    with pytest.raises(ConfigError, match=words):
        with_target.remove_target(name)


def test_a_name_that_cannot_be_a_folder_is_refused(store):
    with pytest.raises(ConfigError, match="'a/b' cannot name a folder"):
        store.target_writer("a/b")


def test_a_set_that_is_added_while_another_of_its_name_is_removed_stays(
    with_target, pools, monkeypatch
):
    unlocked = StoreHandle.write

    @contextmanager
    def added_as_soon_as_it_may(handle):
        with unlocked(handle) as con:
            yield con
        monkeypatch.undo()
        add(Store(with_target.path, create=False), pools, "dev", range(3))

    monkeypatch.setattr(StoreHandle, "write", added_as_soon_as_it_may)
    with_target.remove_target("dev")
    assert with_target.target("dev").n_examples() == 3
    assert not list(with_target.parts.glob(".staging*"))


def test_a_removal_that_fails_leaves_the_set(with_target, monkeypatch):
    unlocked = StoreHandle.write

    @contextmanager
    def failing(handle):
        with unlocked(handle) as con:
            yield con
            raise StoreError("the disk is full")

    monkeypatch.setattr(StoreHandle, "write", failing)
    with pytest.raises(StoreError, match="the disk is full"):
        with_target.remove_target("dev")
    assert with_target.target("dev").n_examples() == 10


def test_what_a_killed_removal_left_is_swept(with_target):
    parts = with_target.parts
    left = parts / ".staging-target-dev.tmp-elsewhere-1-abcd"
    (parts / "targets" / "dev").rename(left)
    (left / "lock").touch()  # held by nobody
    assert Store(with_target.path, create=False).targets() == with_target.targets()
    assert not left.exists()


def test_a_set_whose_folder_is_lost_says_so_and_can_be_removed(with_target, pools):
    (with_target.parts / "targets" / "dev").rename(with_target.path.with_name("lost"))
    with pytest.raises(
        StoreError, match="'dev' is in the store, but its file .* is missing; .*it again"
    ):
        with_target.target("dev")
    with_target.remove_target("dev")
    assert with_target.targets() == []
    assert add(with_target, pools, "dev", range(3)).n_examples == 3


@pytest.mark.parametrize("name", ["../../victim", "dev\n"])
def test_a_name_that_leads_out_of_the_folder_deletes_nothing(with_target, tmp_path, name):
    (tmp_path / "victim").mkdir()
    facts = with_target.parts / "targets" / "dev" / "target.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "name": name}))
    with with_target.write() as con:
        con.execute("update targets set name = ?", [name])
    for use in (with_target.target, with_target.remove_target):
        with pytest.raises(StoreError, match="which curate cannot have added: .*--rebuild"):
            use(name)
    assert (tmp_path / "victim").is_dir() and facts.exists()
    assert rebuild(with_target.path)["left_out"] == [str(facts)]
    assert Store(with_target.path, create=False).targets() == []


@pytest.mark.parametrize("change", ["{", {"name": "other"}, {"n_rows": "many"}, {"data": None}])
def test_a_damaged_record_is_left_out_of_the_rebuilt_file_and_the_others_are_in(
    with_target, pools, change
):
    add(with_target, pools, "other-dev", range(3))
    facts = with_target.parts / "targets" / "dev" / "target.json"
    known = json.loads(facts.read_text())
    facts.write_text(change if isinstance(change, str) else json.dumps({**known, **change}))
    report = rebuild(with_target.path)
    assert (report["n_targets"], report["left_out"]) == (1, [str(facts)])
    again = Store(with_target.path, create=False)
    assert [one.name for one in again.targets()] == ["other-dev"] and again.n_examples() == 20


def test_a_field_of_a_later_version_is_read_past(with_target):
    before = with_target.targets()
    facts = with_target.parts / "targets" / "dev" / "target.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "of_later": 1}))
    assert rebuild(with_target.path)["left_out"] == []
    with with_target.write() as con:
        con.execute("alter table targets add column of_later integer")
    assert Store(with_target.path, create=False).targets() == before


def test_a_name_that_differs_only_in_case_is_refused(with_target, pools):
    with pytest.raises(ConfigError, match="'Dev' differs only in case from 'dev'.*remove dev"):
        with_target.target_writer("Dev")
    with_target.remove_target("dev")
    with with_target.target_writer("Dev") as writer:
        add(with_target, pools, "dev", range(3))
        with pytest.raises(ConfigError, match="differs only in case"):
            writer.commit([], {"n_rows": 0, "content_hash": "", "data": "", "created_at": ""})
    assert with_target.target("dev").n_examples() == 3
