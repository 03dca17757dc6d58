"""Objects below a URL: which URLs are taken, what is tried again, and what errors may show."""

import errno
import itertools

import fsspec
import pytest

import curate as cu
from curate.errors import ConfigError, MissingPackageError, StoreError
from curate.store import objects
from curate.store.object_errors import is_final, why, without_secrets
from curate.store.objects import Objects

_NUMBERS = itertools.count()


@pytest.fixture
def place(monkeypatch):
    monkeypatch.setattr(objects, "PAUSES_S", (0.001, 0.002))
    return Objects.at(f"memory://objects-{next(_NUMBERS)}/prefix")


def test_objects_are_written_read_listed_and_removed(place, tmp_path):
    assert place.read("a/b") is None
    assert place.sizes("a") == {}
    place.write("a/b", b"123")
    file = tmp_path / "file"
    file.write_bytes(b"45")
    place.put("a/c/d", file)
    assert place.sizes("a") == {"a/b": 3, "a/c/d": 2}
    assert place.read("a/c/d") == b"45"
    assert place.get("a/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"123"
    assert not place.get("a/x", tmp_path / "none")
    place.remove(["a/b", "a/b"])
    assert place.sizes("a") == {"a/c/d": 2}


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("s3://id:secret@bucket/a", ConfigError, "--parts s3://... holds a user name, a password"),
        ("s3://bucket/a?token=secret", ConfigError, "give the bucket and a prefix alone"),
        ("simplecache::s3://bucket/a", ConfigError, "--parts takes one URL, such as s3://bucket"),
        ("s3://", ConfigError, "--parts s3:// names no bucket; give one with a prefix"),
        ("nowhere://a/b", ConfigError, "fsspec knows no scheme 'nowhere'; give s3://bucket/prefix"),
    ],
)
def test_urls_that_are_refused(url, kind, said):
    with pytest.raises(kind) as refused:
        Objects.at(url)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_missing_package_is_named(monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(MissingPackageError) as refused:
        Objects.at("s3://bucket/a")
    assert str(refused.value) == (
        "--parts s3:// needs the package s3fs, which is not installed; type: pip install s3fs"
    )


@pytest.mark.parametrize("open_", [cu.open, cu.Pool])
def test_a_store_at_a_url_is_refused(open_):
    with pytest.raises(ConfigError) as refused:
        open_("s3://bucket/curate.duckdb")
    assert str(refused.value) == (
        "the store cannot lie at a URL (s3:), because its file changes in place; give a local path with "
        "--store, and put shards and parts at the URL with --parts"
    )


class _Failing:
    """fsspec's memory, which fails some times."""

    protocol = "memory"

    def __init__(self, files, errors):
        self.files = files
        self.errors = iter(errors)

    def __getattr__(self, name):
        for error in self.errors:
            raise error
        return getattr(self.files, name)


def failing(monkeypatch, *errors):
    files, root = fsspec.url_to_fs("memory://bucket/prefix")
    made = _Failing(files, errors)
    monkeypatch.setattr(fsspec, "url_to_fs", lambda *_, **__: (made, root))
    return made


def test_what_passes_is_tried_again(place, monkeypatch):
    failing(monkeypatch, TimeoutError("slow"), OSError(errno.EBUSY, "SlowDown"))
    place.write("a", b"1")
    assert place.read("a") == b"1"


def test_what_stays_ends_in_time_and_says_what_and_where(place, monkeypatch):
    monkeypatch.setattr(objects, "TRY_S", 0.05)
    failing(monkeypatch, *[OSError(errno.EBUSY, "SlowDown")] * 1000)
    with pytest.raises(
        StoreError, match=r"cannot write memory://.*/prefix/a after \d+ tries in 0 s: OSErr"
    ):
        place.write("a", b"1")


def test_what_no_second_try_mends_is_not_tried_again(place, monkeypatch):
    made = failing(monkeypatch, PermissionError("Access Denied"), TimeoutError("not seen"))
    with pytest.raises(
        StoreError, match="prefix/a: PermissionError: Access Denied; what is finished"
    ):
        place.read("a")
    assert isinstance(next(made.errors), TimeoutError)
    assert is_final(type("NoCredentialsError", (Exception,), {})())


def test_a_full_disk_of_this_machine_is_none_of_the_url(place, monkeypatch, tmp_path):
    failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        place.get("a", tmp_path / "copy")


def test_no_error_shows_a_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"client": {"secret": "fromconfig"}})
    shown = why(
        ValueError("wJalrXUtnFEMI and fromconfig at https://me:pw@host/a?sig=abc&x=1 failed\nmore")
    )
    assert shown == "ValueError: *** and *** at https://host/a failed"
    assert without_secrets("plain text") == "plain text"


def test_an_object_in_a_folder_is_listed_once_it_is_whole(tmp_path, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    place, seen = Objects.at(str(tmp_path / "shared")), []
    pipe = LocalFileSystem.pipe_file

    def in_two(files, path, value, **more):
        pipe(files, path, value[:3], **more)
        seen.append(place.sizes("a"))
        pipe(files, path, value, **more)

    monkeypatch.setattr(LocalFileSystem, "pipe_file", in_two)
    place.write("a/record", b"whole")
    place.write("a/record", b"again!")
    assert seen == [{}, {"a/record": 5}]
    assert place.sizes("a") == {"a/record": 6}
    assert [path.name for path in (tmp_path / "shared" / "a").iterdir()] == ["record"]
