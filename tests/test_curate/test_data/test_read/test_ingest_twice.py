"""The same dataset read by two processes at once."""

from pathlib import Path

from curate.data.read.ingest import ingest
from curate.store import Store


def test_the_one_that_comes_second_uses_what_the_first_has_stored(
    tmp_path: Path, monkeypatch
) -> None:
    data = tmp_path / "pool.jsonl"
    data.write_text('{"prompt": "p", "response": "r"}\n')
    store = Store(tmp_path / "s.duckdb")
    (first,) = ingest(store, str(data))
    looked: list[int] = []
    datasets = store.datasets

    def not_yet_there() -> list:
        looked.append(1)
        return [] if len(looked) == 1 else datasets()

    monkeypatch.setattr(store, "datasets", not_yet_there)
    (second,) = ingest(store, str(data))
    assert (second.reused, second.dataset_id) == (True, first.dataset_id)
    assert store.n_examples() == 1
    assert not list(store.parts.glob(".staging-*"))
