"""By way of an S3 server the scores are the same, and a server that goes away and comes back loses none."""

import threading

import pytest

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
pytest.importorskip("moto.server", reason="moto's server is not installed: pip install moto flask")

from curate.errors import StoreError
from curate.scoring.remote import carrier
from curate.store import objects
from curate.store.objects import Objects
from tests.published import N_SHARDS, hashes, served


@pytest.fixture
def url(tmp_path):
    return f"s3://bucket/{tmp_path.name}"  # buckets outlive their server


@pytest.fixture
def server():
    with served() as server:
        yield server


@pytest.mark.slow
def test_slices_by_way_of_s3_give_the_bytes_of_one_run(pool, expected, elsewhere, server, url):
    pool.score("text_stats", "mtld", parts=url, plan_only=True)
    for index in (2, 1):
        elsewhere.score("text_stats", "mtld", parts=url, slice=f"{index}/2")
    assert pool.commit(url).notes == ("mtld, text_stats: all 2 slices have arrived",)
    assert hashes(pool) == hashes(expected)
    again = Objects.at("s3://bucket/other")
    assert (again.read("plan.json"), again.sizes("parts")) == (None, {})


@pytest.mark.slow
def test_a_server_that_stops_midway_loses_nothing(
    pool, expected, elsewhere, server, url, monkeypatch
):
    """First it comes back within the time of the tries, then not before they are over."""
    pool.score("text_stats", parts=url, plan_only=True)
    deliver, n_delivered = carrier.deliver, []

    def delivered(*given):
        deliver(*given)
        n_delivered.append(given[1])
        if len(n_delivered) == 1:
            server.stop()
            threading.Timer(0.5, server.start).start()
        elif len(n_delivered) == 2:
            monkeypatch.setattr(objects, "TRY_S", 0.1)
            server.stop()

    monkeypatch.setattr(carrier, "deliver", delivered)
    with pytest.raises(StoreError) as stopped:
        elsewhere.score("text_stats", parts=url, slice="1/1")
    said = str(stopped.value)
    assert f"cannot read {url}/shards/" in said
    assert f"(endpoint {server.endpoint})" in said
    assert "EndpointConnectionError" in said
    assert said.endswith("run the same command again once it can be reached")
    assert "secret-of-the-test" not in said
    assert "id-of-the-test" not in said
    server.start()
    report = elsewhere.score("text_stats", parts=url, slice="1/1")
    assert (report.n_found, report.n_written) == (2, 2)
    assert len(n_delivered) == N_SHARDS
    assert pool.commit(url).notes[-1].endswith("have arrived")
    assert hashes(pool)["text_stats"] == hashes(expected)["text_stats"]


def test_a_bucket_that_is_not_there_is_named(server):
    with pytest.raises(StoreError) as refused:
        Objects.at("s3://no-such-bucket/pool").write("plan.json", b"{}")
    assert str(refused.value) == (
        "cannot write s3://no-such-bucket/pool/plan.json: there is no such bucket (endpoint "
        f"{server.endpoint}); create it, or correct --parts"
    )
