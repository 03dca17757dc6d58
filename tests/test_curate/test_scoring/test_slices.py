"""Slices score every N-th shard each, commit nothing, and their parts come in whole, once, and named."""

import shutil

import pytest

import curate as cu
from curate.errors import ConfigError, InterruptedRunError
from curate.scoring import slices
from curate.scoring.slices import FolderRecords, Slice, SliceRecord
from curate.store.parts import part_schema, read_json, write_part_once
from tests.copied import copied

N_SHARDS = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    pool = cu.open(folder / "curate.duckdb", create=True)
    for n in range(N_SHARDS):  # a dataset is a shard of its own
        rows = [{"prompt": f"Say {n}, {i}.", "response": f"{n} {i} " * (n + 1)} for i in range(3)]
        pool.ingest(rows, source=f"s{n}")
    assert len(pool.store.shards()) == N_SHARDS
    return folder


@pytest.fixture
def pool(made, tmp_path):
    return copied(made, tmp_path / "copy")


def hashes(pool):
    return {status.alias: status.content_hash for status in pool.store.score_sets()}


@pytest.mark.parametrize(
    ("text", "index", "of"), [("3/8", 3, 8), (" 1/1 ", 1, 1), ("10/10", 10, 10)]
)
def test_a_slice_is_counted_from_one(text, index, of):
    assert Slice.parse(text) == Slice(index, of)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/8", "--slice 0/8 counts from 1/8 to 8/8"),
        ("9/8", "--slice 9/8 counts from 1/8 to 8/8"),
        ("1/0", "--slice 1/0 is a slice of none; the first of eight is 1/8"),
        ("3", "--slice is I/N, such as 3/8, or slurm within a Slurm array, got '3'"),
        ("-1/8", "--slice is I/N, such as 3/8, or slurm within a Slurm array, got '-1/8'"),
    ],
)
def test_what_is_no_slice_is_refused(text, said):
    with pytest.raises(ConfigError) as refused:
        Slice.parse(text)
    assert str(refused.value) == said


def slurm(**values):
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_slurm_arrays_count_from_where_they_like():
    assert Slice.parse("slurm", slurm(ID=0, COUNT=4, MIN=0)) == Slice(1, 4)
    assert Slice.parse("slurm", slurm(ID=4, COUNT=4, MIN=1, STEP=1)) == Slice(4, 4)
    assert Slice.parse("SLURM", slurm(ID=16, COUNT=4, MIN=10, STEP=2)) == Slice(4, 4)


def test_slurm_outside_of_an_array_says_what_is_not_set():
    said = "SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_MIN, which Slurm sets"
    with pytest.raises(ConfigError, match=said):
        Slice.parse("slurm", {})
    with pytest.raises(ConfigError, match="needs tasks that are numbered evenly, and task 9 of 3"):
        Slice.parse("slurm", slurm(ID=9, COUNT=3, MIN=1))


def test_slices_part_the_shards_between_them():
    shards = list(range(11))
    dealt = [Slice(index, 4).shards(shards) for index in range(1, 5)]
    assert sorted(shard for own in dealt for shard in own) == shards
    assert {len(own) for own in dealt} == {2, 3}
    assert (
        [own[: len(own) - 1] for own in dealt]
        == [  # what is added changes no earlier shard
            Slice(index, 4).shards(shards[:7])[: len(dealt[index - 1]) - 1] for index in range(1, 5)
        ]
    )


def test_slices_give_the_bytes_of_one_run(pool, made, tmp_path):
    whole = copied(made, tmp_path / "whole")
    whole.score("text_stats", "mtld")
    for index in (3, 1, 2):
        report = pool.score("text_stats", "mtld", slice=f"{index}/3")
        assert (report.n_shards, report.n_written, report.n_found, report.n_late) == (2, 4, 0, 0)
    assert all(status.n_examples == 0 for status in pool.store.score_sets())
    report = pool.commit()
    assert [(made.alias, made.n_committed, made.n_done) for made in report.sets] == [
        ("text_stats", N_SHARDS, N_SHARDS), ("mtld", N_SHARDS, N_SHARDS),
    ]  # fmt: skip
    assert report.notes == ("mtld, text_stats: all 3 slices have arrived",)
    assert hashes(pool) == hashes(whole)
    assert pool.commit().as_dict() == {"score_sets": [], "notes": []}


def test_a_derived_score_follows_what_it_reads_in_the_same_slice(pool, made, tiny_model, tmp_path):
    settings = {"pass_rate.k": 2, "pass_rate.max_new_tokens": 3, "pass_rate.verifier": "exact"}
    for index in (1, 2):
        pool.score("pass_rate", slice=f"{index}/2", model=str(tiny_model), settings=settings)
    pool.commit()
    whole = copied(made, tmp_path / "whole")
    whole.score("pass_rate", model=str(tiny_model), settings=settings)
    assert hashes(pool) == hashes(whole)
    assert set(hashes(pool)) == {"pass_rate", "samples"}


def test_a_commit_that_is_killed_before_it_counts_is_finished_by_the_next(pool, made, tmp_path):
    whole = copied(made, tmp_path / "whole")
    whole.score("text_stats")
    pool.score("text_stats", slice="1/1")

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(type(pool.store), "finish", killed)
        pool.commit()
    assert hashes(pool) == {"text_stats": None}
    pool.commit()
    assert hashes(pool) == hashes(whole)
    assert [made.n_examples for made in pool.store.score_sets()] == [3 * N_SHARDS]


def test_missing_slices_are_named_and_other_runs_may_do_their_work(pool):
    pool.score("text_stats", slice="2/3")
    report = pool.commit()
    assert [(made.n_committed, made.n_done, made.n_shards) for made in report.sets] == [(2, 2, 6)]
    assert report.notes == ("text_stats: slices 1/3, 3/3 have not begun: 4 shards missing",)
    assert pool.score("text_stats").sets[0].n_scored == 3 * 4
    assert pool.commit().notes == ("text_stats: all 3 slices have arrived",)


def test_a_slice_that_ran_twice_is_said_and_counted_once(pool):
    for index in (1, 2, 2):
        pool.score("text_stats", slice=f"{index}/2")
    notes = pool.commit().notes
    assert notes[0].startswith("text_stats: slice 2/2 ran 2 times (")
    assert notes[0].endswith("); each part is kept once")
    assert pool.store.score_sets()[0].n_examples == 3 * N_SHARDS


def test_a_part_that_another_process_wrote_meanwhile_stays_and_is_said(pool, monkeypatch):
    from curate.store import parts

    theirs = {}

    def someone_is_first(path, table, metadata):
        if not theirs:
            parts.write_part(path, table, {**metadata, "wall_s": 99.0})
            theirs[path] = path.read_bytes()
        return write_part_once(path, table, metadata)

    monkeypatch.setattr(parts, "write_part_once", someone_is_first)
    report = pool.score("text_stats", slice="1/1")
    assert (report.n_written, report.n_late) == (N_SHARDS - 1, 1)
    assert "1 of them there already when they were finished" in str(report)
    [(path, written)] = theirs.items()
    assert path.read_bytes() == written
    said = "text_stats: slice 1/1 came late: 1 part of it was there already and is kept"
    assert pool.commit().notes[0] == said
    assert pool.store.check()[0].level == "ok"


def test_the_first_whole_part_stays_even_where_links_are_not_known(tmp_path, monkeypatch):
    import errno
    import os

    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    schema = part_schema({"x": "int"})
    tables = [schema.empty_table(), schema.empty_table()]
    for name, broken in (("linked", False), ("copied", True)):
        if broken:
            monkeypatch.setattr(os, "link", no_links)
        path = tmp_path / f"{name}.parquet"
        assert write_part_once(path, tables[0], {"tokens": 1})
        written = path.read_bytes()
        assert not write_part_once(path, tables[1], {"tokens": 2})
        assert path.read_bytes() == written
        assert [each.name for each in tmp_path.glob(f"*{name}*")] == [path.name]


def test_an_interrupted_slice_goes_on_and_is_named_until_it_has_ended(pool, monkeypatch):
    from curate.scoring.executors import local

    run, n_run = local.TaskRunner.run, []

    def stops_after_one(self, task):
        if n_run:
            raise KeyboardInterrupt
        n_run.append(task.shard_id)
        return run(self, task)

    with monkeypatch.context() as patched:
        patched.setattr(local.TaskRunner, "run", stops_after_one)
        with pytest.raises(InterruptedRunError, match="1 of 3 shards of slice 1/2 are saved"):
            pool.score("text_stats", slice="1/2")
    notes = pool.commit().notes
    assert notes[0].startswith("text_stats: slice 1/2, begun on ")
    assert notes[0].endswith(
        "still lacks 2 of its 3 shards; if it was stopped, run it again: --slice 1/2"
    )
    assert notes[1] == "text_stats: slice 2/2 has not begun: 3 shards missing"
    report = pool.score("text_stats", slice="1/2")
    assert (report.n_written, report.n_found) == (2, 1)


def test_what_sees_the_whole_pool_is_refused_in_a_slice(pool):
    with pytest.raises(ConfigError, match="'near_duplicate' sees the whole pool at once"):
        pool.score("near_duplicate", slice="1/2")
    with pytest.raises(ConfigError, match="--dry-run plans the whole job, of which --slice 1/2"):
        pool.score("text_stats", slice="1/2", dry_run=True)
    assert SliceRecord.all_in(FolderRecords(pool.store.parts)) == []


def test_a_lost_folder_of_records_loses_no_score(pool):
    pool.score("text_stats", slice="1/1")
    shutil.rmtree(pool.store.parts / "slices")
    report = pool.commit()
    assert (report.sets[0].n_committed, report.notes) == (N_SHARDS, ())


def test_the_record_of_a_killed_slice_goes_with_those_of_the_others(pool):
    records = FolderRecords(pool.store.parts)
    for index in (1, 2):
        pool.score("text_stats", slice=f"{index}/2")
    last = SliceRecord.all_in(records)[-1]
    SliceRecord.begin(records, Slice(2, 2), last.sets, last.shards)  # and nothing more
    assert pool.commit().notes == ("text_stats: all 2 slices have arrived",)
    assert pool.commit().notes == ()


def test_a_record_that_another_commit_removes_is_none(pool, monkeypatch):
    pool.score("text_stats", slice="1/1")

    def removed_first(path):
        path.unlink()
        return read_json(path)

    monkeypatch.setattr(slices, "read_json", removed_first)
    assert SliceRecord.all_in(FolderRecords(pool.store.parts)) == []
