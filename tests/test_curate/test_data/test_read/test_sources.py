"""What a DATA argument names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.data.read.containers.readers import open_reader
from curate.data.read.sources import hash_files, resolve
from curate.errors import DataError

LINE = '{"prompt": "a", "response": "b"}\n'


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    library.disable_progress_bars()
    yield library


def write(path: Path, text: str = LINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_named_by_its_stem(tmp_path: Path) -> None:
    source = resolve(str(write(tmp_path / "my.pool.jsonl")))
    assert (source.label, source.container, source.compression) == ("my.pool", "jsonl", None)
    zipped = resolve(str(write(tmp_path / "pool.csv.gz")))
    assert (zipped.label, zipped.container, zipped.compression) == ("pool", "csv", "gz")


def test_the_hash_follows_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    one, same = write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl")
    other = write(tmp_path / "c.jsonl", LINE * 2)
    assert resolve(str(one)).content_hash == resolve(str(same)).content_hash
    assert resolve(str(one)).content_hash != resolve(str(other)).content_hash
    assert len(hash_files([one, other])) == 32
    assert hash_files([one, other]) != hash_files([other, one])


def test_a_glob_is_one_dataset_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b", "a", "c/d"):
        write(tmp_path / f"{name}.jsonl")
    source = resolve(f"{tmp_path}/*.jsonl")
    assert [file.name for file in source.files] == ["a.jsonl", "b.jsonl"]
    assert len(resolve(f"{tmp_path}/**/*.jsonl").files) == 3


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1].jsonl")
    assert resolve(str(path)).files == (path,)


def test_a_folder_of_files_is_one_dataset(tmp_path: Path) -> None:
    write(tmp_path / "pool" / "a.jsonl")
    write(tmp_path / "pool" / "b.jsonl.gz")
    write(tmp_path / "pool" / "README.md", "text")
    write(tmp_path / "pool" / ".cache" / "c.jsonl")
    source = resolve(str(tmp_path / "pool"))
    assert (source.label, [file.name for file in source.files]) == (
        "pool",
        ["a.jsonl", "b.jsonl.gz"],
    )


def test_files_named_after_splits_are_chosen_by_split(tmp_path: Path) -> None:
    train = write(tmp_path / "data" / "train-00000.jsonl")
    test = write(tmp_path / "data" / "test-00000.jsonl")
    assert resolve(str(tmp_path)).files == (train,)
    assert resolve(str(tmp_path), "test").files == (test,)
    with pytest.raises(DataError, match="has no split 'dev'; choose --split test or train"):
        resolve(str(tmp_path), "dev")


def test_files_of_a_folder_whose_names_hold_a_split_are_chosen_by_it(tmp_path: Path) -> None:
    train = write(tmp_path / "pool" / "alpaca_train.jsonl")
    test = write(tmp_path / "pool" / "alpaca_test.jsonl")
    assert resolve(str(tmp_path / "pool")).files == (train,)
    assert resolve(str(tmp_path / "pool"), "test").files == (test,)
    alone = write(tmp_path / "alone" / "self-eval.jsonl")
    assert resolve(str(tmp_path / "alone")).files == (alone,)


def test_other_splits_beside_files_of_none_are_no_guess(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    train, more = write(folder / "train.jsonl"), write(folder / "more.jsonl")
    assert resolve(str(folder)).files == (more, train)
    write(folder / "test.jsonl")
    with pytest.raises(DataError) as caught:
        resolve(str(folder))
    words = str(caught.value)
    assert words.startswith(
        f"{folder} holds files of the split test, and more.jsonl, whose name says"
    )
    assert resolve(words.split("'")[-2]).files == (train,)


def test_revisions_beside_an_export_are_no_rows(tmp_path: Path) -> None:
    part = write(tmp_path / "out" / "part-00000.parquet")
    write(tmp_path / "out" / "manifest.json", "{}")
    write(tmp_path / "out" / "revisions.jsonl")
    assert resolve(str(tmp_path / "out")).files == (part,)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{tmp}/none.jsonl", "no file '{tmp}/none.jsonl'; check the path, or give a hub dataset"),
        ("{tmp}/*.parquet", "no file matches '{tmp}/*.parquet'; check the pattern"),
        ("{tmp}/empty", "folder {tmp}/empty holds no data file; write .jsonl"),
        ("{tmp}/mixed", "{tmp}/mixed mixes csv and jsonl files; ingest each kind separately"),
        ("{tmp}/notes.txt", "{tmp}/notes.txt: unknown file type '.txt'; write .jsonl, .json, .csv"),
        ("{tmp}/broken", "cannot read the saved dataset {tmp}/broken: its state.json is unusable"),
    ],
)
def test_what_cannot_be_found_or_read_says_so(tmp_path: Path, data: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "mixed" / "a.csv")
    write(tmp_path / "mixed" / "a.jsonl")
    write(tmp_path / "notes.txt")
    write(tmp_path / "broken" / "state.json", "{}")
    with pytest.raises(DataError) as caught:
        resolve(data.format(tmp=tmp_path))
    assert str(caught.value).startswith(words.format(tmp=tmp_path))


def test_an_unreadable_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl")

    def refuse(self: Path, mode: str = "r") -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError) as caught:
        resolve(str(path))
    assert str(caught.value) == f"cannot read {path}: Permission denied; check its permissions"


def test_a_saved_dataset_is_read_with_its_metadata(tmp_path: Path, datasets: Any) -> None:
    dataset = datasets.Dataset.from_dict({"prompt": ["a", "b"], "response": ["c", "d"]})
    dataset.save_to_disk(str(tmp_path / "saved"))
    source = resolve(str(tmp_path / "saved"))
    assert (source.container, source.label) == ("disk", "saved")
    reader = open_reader(source)
    assert b"huggingface" in reader.schema.metadata
    assert [row for chunk in reader.chunks() for row in chunk.raw.to_pylist()] == list(dataset)


def test_a_saved_dict_of_splits_needs_one_of_them(tmp_path: Path, datasets: Any) -> None:
    dataset = datasets.Dataset.from_dict({"prompt": ["a"], "response": ["c"]})
    datasets.DatasetDict({"train": dataset, "dev": dataset}).save_to_disk(str(tmp_path / "pool"))
    assert resolve(str(tmp_path / "pool")).label == "pool"
    assert resolve(str(tmp_path / "pool"), "dev").files[0].parent.name == "dev"
    with pytest.raises(DataError, match="has no split 'test'; choose --split dev or train"):
        resolve(str(tmp_path / "pool"), "test")


def test_a_hub_dataset_that_is_not_cached_is_one_error(datasets: Any) -> None:
    with pytest.raises(DataError) as caught:
        resolve("no-such-org/no-such-dataset:main@v1", "test")
    message = str(caught.value)
    assert message.startswith(
        "no file 'no-such-org/no-such-dataset:main@v1' here, and the hub dataset "
        "'no-such-org/no-such-dataset' (split 'test') cannot be loaded: "
    )
    assert message.endswith("check the path or the id; offline it must already be cached")


def test_a_hub_id_is_loaded_with_its_parts(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = datasets.Dataset.from_dict({"prompt": ["a", "b"], "response": ["c", "d"]})
    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return dataset

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = resolve("org/name.v2:sub@abc", "train")
    assert asked == [(("org/name.v2", "sub"), {"split": "train", "revision": "abc"})]
    assert (source.container, source.label, source.compression) == ("hub", "org/name.v2", None)
    rows = [row for chunk in open_reader(source).chunks() for row in chunk.raw.to_pylist()]
    assert rows == list(dataset)
    assert resolve("org/name.v2:sub@abc").content_hash == source.content_hash
    assert resolve("org/name.v2:sub@def").content_hash != source.content_hash
