"""Slices on machines that share a URL alone give the bytes of one run, whatever is killed in between."""

import json
import shutil
import signal

import pytest

from curate.errors import ConfigError, InterruptedRunError, StoreError
from curate.scoring.remote.document import PlanDocument
from curate.scoring.remote.places import fetch
from curate.store.objects import Objects
from tests.copied import copied
from tests.forked import Forked
from tests.published import (
    N_SHARDS,
    hashes,
    killed_before_its_second_record,
    records_in,
    rewritten,
)


def test_slices_elsewhere_give_the_bytes_of_one_run(pool, expected, elsewhere, bucket):
    published = pool.score("text_stats", "mtld", parts=bucket.as_uri(), plan_only=True)
    assert (published.n_copied, published.as_dict()["n_missing"]) == (N_SHARDS, 2 * N_SHARDS)
    assert "curate commit --parts file://" in str(published)
    report = elsewhere.score("text_stats", "mtld", parts=bucket.as_uri(), slice="2/3")
    assert (report.n_shards, report.n_written, report.n_found) == (1, 2, 0)
    assert report.as_dict()["slice"] == "2/3"
    first = pool.commit(bucket.as_uri())
    assert [(made.alias, made.n_done) for made in first.sets] == [("text_stats", 1), ("mtld", 1)]
    assert first.notes == ("mtld, text_stats: slices 1/3, 3/3 have not begun: 3 shards missing",)
    for index in (3, 1):
        elsewhere.score("text_stats", "mtld", parts=bucket.as_uri(), slice=f"{index}/3")
    assert elsewhere.store.score_sets() == []
    second = pool.commit(bucket.as_uri())
    assert second.notes == ("mtld, text_stats: all 3 slices have arrived",)
    assert hashes(pool) == hashes(expected)
    assert pool.commit(bucket.as_uri()).as_dict() == {"score_sets": [], "notes": []}
    assert not list((bucket / "slices").iterdir())


def test_one_run_by_way_of_a_url_gives_the_same(pool, expected, bucket):
    report = pool.score("text_stats", "mtld", "near_duplicate", parts=str(bucket))
    assert all(made.status.complete for made in report.sets)
    found = hashes(pool)
    assert {alias: found[alias] for alias in hashes(expected)} == hashes(expected)
    assert pool.score("text_stats", parts=str(bucket)).sets[0].n_scored == 0


def test_the_plan_is_json_and_the_same_for_the_same_pool(pool, made, bucket, tmp_path):
    twin = copied(made, tmp_path / "twin")
    for each in (pool, twin):
        each.score("text_stats", parts=str(bucket), plan_only=True)
        plan = json.loads((bucket / "plan.json").read_text())
        assert plan["plan_id"] == PlanDocument.find(Objects.at(str(bucket))).plan_id
        assert str(tmp_path) not in (bucket / "plan.json").read_text()
    assert len(list((bucket / "shards").iterdir())) == N_SHARDS


def test_a_derived_score_and_input_columns_go_along(
    pool, made, elsewhere, tiny_model, bucket, tmp_path
):
    settings = {
        "pass_rate.k": 2, "pass_rate.max_new_tokens": 3, "pass_rate.verifier": "exact",
        "pass_rate.reference": "row.answer",
    }  # fmt: skip
    given = {"model": str(tiny_model), "settings": settings}
    pool.score("pass_rate", parts=str(bucket), plan_only=True, **given)
    for index in (1, 2):
        elsewhere.score("pass_rate", parts=str(bucket), slice=f"{index}/2", **given)
    pool.commit(str(bucket))
    whole = copied(made, tmp_path / "whole")
    whole.score("pass_rate", **given)
    assert set(hashes(pool)) == {"samples", "pass_rate"}
    assert hashes(pool) == hashes(whole)


def test_scores_of_a_selection_go_along(pool, made, elsewhere, bucket, tmp_path):
    whole = copied(made, tmp_path / "whole")
    for each in (pool, whole):
        each.select("random", budget=5, seed=1, name="five")
    whole.score("text_stats", within="five")
    pool.score("text_stats", within="five", parts=str(bucket), plan_only=True)
    elsewhere.score("text_stats", within="five", parts=str(bucket), slice="1/1")
    pool.commit(str(bucket))
    assert hashes(pool) == hashes(whole)


def test_what_is_scored_already_is_no_part_of_a_plan(pool, bucket):
    pool.score("text_stats")
    published = pool.score("text_stats", parts=str(bucket), plan_only=True)
    assert (published.n_copied, published.as_dict()["n_missing"]) == (0, 0)


def test_an_interrupted_slice_goes_on(pool, expected, bucket, monkeypatch):
    from curate.scoring.executors import local

    run, n_run = local.TaskRunner.run, []

    def stops_after_one(self, task):
        if n_run:
            raise KeyboardInterrupt
        n_run.append(task.shard_id)
        return run(self, task)

    pool.score("text_stats", parts=str(bucket), plan_only=True)
    with monkeypatch.context() as patched:
        patched.setattr(local.TaskRunner, "run", stops_after_one)
        with pytest.raises(
            InterruptedRunError, match="1 of 4 shards of slice 1/1 are saved at file"
        ):
            pool.score("text_stats", parts=str(bucket), slice="1/1")
    notes = pool.commit(str(bucket)).notes
    assert notes[0].endswith("if it was stopped, run it again: --slice 1/1")
    report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    assert (report.n_written, report.n_found) == (3, 1)
    pool.commit(str(bucket))
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


def test_a_slice_that_was_stopped_within_a_shard_goes_on_there(
    pool, expected, bucket, tmp_path, monkeypatch
):
    from curate.scoring import run_shards
    from curate.scoring.executors import course

    monkeypatch.setattr(course, "KEEP_S", 0.0)
    monkeypatch.setattr(course, "TELL_S", 0.0)
    pool.score("text_stats", parts=str(bucket), plan_only=True)

    def stops(self, at):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run_shards._Reached, "tell", stops)
        with pytest.raises(InterruptedRunError, match="0 of 4 shards of slice 1/1 are saved"):
            pool.score("text_stats", parts=str(bucket), slice="1/1")
    kept = tmp_path / "cache" / "unfinished"
    assert len(list(kept.rglob("*.parquet"))) == 1
    report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    assert report.n_written == N_SHARDS and not list(kept.rglob("*.parquet"))
    pool.commit(str(bucket))
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


def test_a_shard_that_cannot_be_delivered_is_kept(pool, expected, bucket, tmp_path, monkeypatch):
    from curate.scoring.executors import course
    from curate.scoring.remote import carrier

    monkeypatch.setattr(course, "KEEP_S", 0.0)
    pool.score("text_stats", parts=str(bucket), plan_only=True)

    def unreachable(*_):
        raise StoreError("cannot write: what is finished is kept")

    with monkeypatch.context() as patched:
        patched.setattr(carrier, "deliver", unreachable)
        with pytest.raises(StoreError, match="what is finished is kept"):
            pool.score("text_stats", parts=str(bucket), slice="1/1")
    kept = tmp_path / "cache" / "unfinished"
    assert len(list(kept.rglob("*.parquet"))) == 1
    assert pool.score("text_stats", parts=str(bucket), slice="1/1").n_written == N_SHARDS
    assert not list(kept.rglob("*.parquet"))
    pool.commit(str(bucket))
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


@pytest.mark.slow
def test_a_slice_killed_between_data_and_record_loses_nothing(pool, expected, bucket, tmp_path):
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    killed = Forked(killed_before_its_second_record, str(bucket), pool.store.path, folder=tmp_path)
    killed.communicate(120)
    assert killed.returncode == -signal.SIGKILL
    n_data = len(list((bucket / "parts").rglob("*.parquet")))
    assert (n_data, len(records_in(bucket))) == (2, 1)
    assert pool.commit(str(bucket)).sets[0].n_committed == 1
    left = list((tmp_path / "cache" / "work").iterdir())
    report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    assert (report.n_written, report.n_found, report.n_late) == (3, 1, 0)
    assert left and not list((tmp_path / "cache" / "work").iterdir())
    assert pool.commit(str(bucket)).sets[0].n_committed == 3
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


def test_a_part_that_arrives_twice_counts_once(pool, expected, bucket, monkeypatch):
    from curate.scoring.remote import carrier

    pool.score("text_stats", parts=str(bucket), plan_only=True)
    report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    with monkeypatch.context() as patched:  # one that saw nothing there, and was slower
        patched.setattr(carrier.Arrivals, "attempts", lambda *_, **__: [])
        report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    assert (report.n_written, len(records_in(bucket))) == (N_SHARDS, 2 * N_SHARDS)
    notes = pool.commit(str(bucket)).notes
    assert notes[0].startswith("text_stats: slice 1/1 ran 2 times (")
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


def test_a_slower_slice_says_that_it_came_late(pool, bucket, monkeypatch):
    from curate.scoring.remote import work

    pool.score("text_stats", parts=str(bucket), plan_only=True)
    pool.score("text_stats", parts=str(bucket), slice="1/1")
    with monkeypatch.context() as patched:  # it began before the other had ended
        patched.setattr(work.Arrivals, "below", lambda *_: work.Arrivals({}))
        patched.setattr("curate.scoring.remote.carrier.Arrivals", _Arrivals)
        report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    assert (report.n_written, report.n_late) == (0, N_SHARDS)
    assert len(records_in(bucket)) == N_SHARDS


class _Arrivals:
    @staticmethod
    def below(objects, folder):
        from curate.scoring.remote.places import Arrivals

        return Arrivals(objects.sizes(folder))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda record, data: data.write_bytes(data.read_bytes()[:-9]), "bytes instead of "),
        (lambda record, data: data.write_bytes(data.read_bytes()[::-1]), "it has the checksum "),
        (lambda record, data: rewritten(record, checksum="0" * 32), "instead of 00000000"),
        (lambda record, data: data.unlink(), ".parquet is not there"),
        (lambda record, data: record.write_text("{}"), "it is no completion record"),
        (lambda record, data: record.write_bytes(b"\xff{"), "it is no completion record"),
        (
            lambda record, data: rewritten(record, set_id="0123456789abcdef"),
            "of score set 0123456789abcdef",
        ),
        (
            lambda record, data: rewritten(record, data="parts/other.parquet"),
            "it is of parts/other.parquet, which is no part of this place",
        ),
    ],
)
def test_what_is_not_whole_is_named_and_scored_again(pool, expected, bucket, spoil, said):
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    pool.score("text_stats", parts=str(bucket), slice="1/1")
    record = records_in(bucket)[0]
    spoil(record, record.with_suffix(".parquet"))
    for _ in range(2):
        report = pool.commit(str(bucket))
        assert report.sets[0].n_done == N_SHARDS - 1
        assert said in report.notes[0]
        assert report.notes[0].startswith(f"{record.as_uri()} is ignored: ")
        assert "run it again: --slice 1/1" in report.notes[1]
    report = pool.score("text_stats", parts=str(bucket), slice="1/1")
    assert (report.n_written, report.n_found) == (1, N_SHARDS - 1)
    assert pool.commit(str(bucket)).sets[0].n_done == N_SHARDS
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


def test_the_first_valid_record_counts_in_the_order_of_their_names(pool, bucket):
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    pool.score("text_stats", parts=str(bucket), slice="1/1")
    record = records_in(bucket)[0]
    for attempt, cut in (("19990101T000000000000Z-0", 5), ("20000101T000000000000Z-0", 0)):
        data = record.with_name(f"{attempt}.parquet")
        whole = record.with_suffix(".parquet").read_bytes()
        data.write_bytes(whole[: len(whole) - cut])
        copy = record.with_name(f"{attempt}.json")
        copy.write_bytes(record.read_bytes())
        rewritten(copy, attempt=attempt, data=str(data.relative_to(bucket)))
    record.with_suffix(".parquet").unlink()  # never looked at: the second counts
    report = pool.commit(str(bucket))
    assert report.sets[0].n_done == N_SHARDS
    [refused] = report.notes[:-1]
    assert "19990101T000000000000Z-0.json is ignored: its data has" in refused
    assert refused.endswith("another try at the same part is whole and counts")


def test_parts_of_another_plan_are_ignored_and_named(pool, bucket):
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    pool.score("text_stats", parts=str(bucket), slice="1/2")
    [of_set] = (bucket / "parts").iterdir()
    of_shards = sorted(of_set.iterdir())
    of_shards[0].rename(of_set / f"{of_shards[0].name[:-8]}00000000")  # other examples
    for name in (f"{of_set.name[:16]}-00000000", "0123456789abcdef-00000000"):  # other batches, set
        shutil.copytree(of_shards[1], bucket / "parts" / name / of_shards[1].name)
    shutil.rmtree(of_shards[1])
    report = pool.commit(str(bucket))
    assert [made.n_done for made in report.sets] == [0]
    ignored = [note for note in report.notes if "of another plan and ignored" in note]
    assert len(ignored) == 3


def test_what_a_slice_has_not_is_refused(pool, elsewhere, bucket, tmp_path):
    with pytest.raises(ConfigError, match="no plan is published at file://.*type the same command"):
        elsewhere.score("text_stats", parts=str(bucket), slice="1/2")
    with pytest.raises(ConfigError, match="no plan is published at file://.*so nothing can have"):
        pool.commit(str(bucket))
    with pytest.raises(ConfigError, match="'near_duplicate' sees the whole pool.*without --parts"):
        pool.score("near_duplicate", parts=str(bucket), plan_only=True)
    with pytest.raises(
        ConfigError, match="--plan-only publishes for slices.*say where with --parts"
    ):
        pool.score("text_stats", plan_only=True)
    with pytest.raises(ConfigError, match="leave it or --slice 1/2 out"):
        pool.score("text_stats", parts=str(bucket), plan_only=True, slice="1/2")
    with pytest.raises(ConfigError, match="the pool is empty"):
        elsewhere.score("text_stats", parts=str(bucket), plan_only=True)
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    elsewhere.ingest([{"prompt": "Another", "response": "pool."}])
    with pytest.raises(ConfigError, match="has the plan of another pool"):
        elsewhere.score("text_stats", parts=str(bucket), plan_only=True)


def test_a_damaged_shard_or_plan_is_refused_by_name(pool, elsewhere, bucket):
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    for shard in (bucket / "shards").iterdir():
        shard.write_bytes(b"other")
    with pytest.raises(
        StoreError, match=r"shards/.* cannot be used: it has the checksum .* publish it"
    ):
        elsewhere.score("text_stats", parts=str(bucket), slice="1/1")
    pool.score("text_stats", parts=str(bucket), plan_only=True)
    assert elsewhere.score("text_stats", parts=str(bucket), slice="1/1").n_written == N_SHARDS
    plan = bucket / "plan.json"
    text = plan.read_text()
    for broken, said in (
        ("{", "it is no plan"),
        (text.replace('"n_examples": 3', '"n_examples": 4'), "the hash it names"),
        (text.replace('"format": 3', '"format": 4'), "in another form than this version"),
        (text.replace('"shard_id": "', '"shard_id": "../'), "is no name that a plan has"),
    ):
        plan.write_text(broken)
        with pytest.raises(StoreError, match=said):
            elsewhere.score("text_stats", parts=str(bucket), slice="1/1")


def test_what_is_not_there_leaves_no_file(bucket, tmp_path):
    place, copy = Objects.at(str(bucket)), tmp_path / "copy"
    assert fetch(place, "shards/none.parquet", copy, "0" * 32) == "it is not there"
    assert not copy.exists()
