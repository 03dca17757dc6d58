"""The commands of the page on many machines: publish, score slices without a store, commit."""


def test_slices_by_way_of_a_url_need_no_store(curate, pool_file, tmp_path, monkeypatch):
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    score = ("score", "--scorer", "text_stats", "--parts", tmp_path / "exchange")
    assert curate("ingest", pool_file).code == 0
    published = curate(*score, "--plan-only", "--json").json
    assert (published["n_shards"], published["n_copied"], published["n_missing"]) == (1, 1, 1)
    (tmp_path / "machine").mkdir()
    monkeypatch.chdir(tmp_path / "machine")
    ran = curate(*score, "--slice", "1/2")
    assert ran.code == 0
    assert f"then here: curate commit --parts {(tmp_path / 'exchange').as_uri()}" not in ran.out
    assert "slice 1/2: 1 shard, 1 part computed, 0 found; when all slices have run: " in ran.out
    assert curate(*score, "--slice", "2/2", "--json").json["n_shards"] == 0
    assert list((tmp_path / "machine").iterdir()) == []
    monkeypatch.chdir(tmp_path)
    committed = curate("commit", "--parts", tmp_path / "exchange")
    assert "text_stats: all 2 slices have arrived" in committed.out


def test_a_store_at_a_url_is_refused(curate):
    ran = curate("status", "--store", "s3://bucket/curate.duckdb")
    assert (ran.code, ran.out) == (2, "")
    assert "the store cannot lie at a URL (s3:), because its file changes in place" in ran.err
