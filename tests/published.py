"""A small pool whose parts go by way of a URL, and an S3 server of the test's own."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import curate as cu

N_SHARDS: Final = 4


def ingested(folder: Path) -> Path:
    """Make a store with a few shards in a folder: a dataset is a shard of its own."""
    pool = cu.open(folder / "curate.duckdb", create=True)
    for n in range(N_SHARDS):
        rows = [
            {"prompt": f"Say {n}, {i}.", "response": f"{n} {i} " * (n + 1), "answer": f"{n} {i}"}
            for i in range(3)
        ]
        pool.ingest(rows, source=f"s{n}")
    assert len(pool.store.shards()) == N_SHARDS
    return folder


def hashes(pool: Any) -> dict[str, str]:
    """Return the content hash of each score set by alias."""
    return {status.alias: status.content_hash for status in pool.store.score_sets()}


def records_in(folder: Path) -> list[Path]:
    """Return the completion records below a folder that stands for a bucket."""
    return sorted((folder / "parts").rglob("*.json"))


def rewritten(record: Path, **changed: Any) -> None:
    """Change fields of a completion record."""
    record.write_text(json.dumps({**json.loads(record.read_text()), **changed}))


def killed_before_its_second_record(url: str, store: Path) -> None:
    """Run a slice that is killed, as by kill -9, between the data of its second part and the record."""
    from curate.scoring.remote import places

    deliver, n_delivered = places.Objects.write, []

    def write(self: Any, key: str, data: bytes) -> None:
        if key.startswith("parts/"):
            n_delivered.append(key)
            if len(n_delivered) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        deliver(self, key, data)

    places.Objects.write = write  # type: ignore[method-assign]
    cu.open(store).score("text_stats", parts=url, slice="1/1")


class Served:
    """An S3 server on a free port of loopback, which can be stopped and started with what it holds."""

    def __init__(self) -> None:
        self.port = 0
        self.server: Any = None
        self.start()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port it had."""
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()
        _, self.port = self.server.get_host_and_port()

    def stop(self) -> None:
        """Stop it; its buckets stay in this process."""
        self.server.stop()


@contextmanager
def served() -> Iterator[Served]:
    """Run an S3 server with one bucket, and set the environment of its clients."""
    import botocore.session
    from s3fs import S3FileSystem

    given = {
        "AWS_ACCESS_KEY_ID": "id-of-the-test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = dict(os.environ)
    server = Served()
    os.environ.update(given, AWS_ENDPOINT_URL_S3=server.endpoint)
    S3FileSystem.clear_instance_cache()  # they remember the endpoint of an earlier server
    try:
        botocore.session.get_session().create_client("s3").create_bucket(Bucket="bucket")
        yield server
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
