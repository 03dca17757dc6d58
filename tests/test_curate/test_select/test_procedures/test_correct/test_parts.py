"""Work in parts: what is done stays done, and a killed run ends with the same rows."""

import pyarrow as pa
import pytest

from curate.contracts.progress import SilentProgress
from curate.errors import DeviceError, ProcedureError
from curate.select.procedures.correct import parts
from curate.select.procedures.correct.parts import read_parts, write_parts


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 4)


class Squares:
    """Squares numbers, remembers which, and fails at a given one."""

    def __init__(self, fail_at=None):
        self.seen, self.fail_at, self.n_loaded = [], fail_at, 0

    def load(self):
        self.n_loaded += 1
        return self

    def __call__(self, items):
        if self.fail_at in items:
            raise KeyboardInterrupt
        self.seen += items
        return pa.table({"square": [item**2 for item in items]}), {
            "tokens": len(items),
            "seconds": 1,
        }


def write(folder, work, n=10):
    write_parts(folder, range(n), work.load, SilentProgress(), "squares")


def test_parts_come_back_in_order_with_the_sum_of_their_facts(tmp_path):
    write(tmp_path, Squares())
    table, facts = read_parts(tmp_path)
    assert table["square"].to_pylist() == [n**2 for n in range(10)]
    assert facts == {"tokens": 10, "seconds": 3}
    assert len(list(tmp_path.iterdir())) == 3


def test_a_lack_of_memory_ends_the_work_and_is_not_stored(tmp_path):
    def work(items):
        failures = ["empty" if item < 4 else "out_of_memory" for item in items]
        table = pa.table({"parent_id": [f"e{item}" for item in items], "failure": failures})
        return table, {"tokens": 1, "seconds": 1}

    with pytest.raises(DeviceError) as error:
        write_parts(tmp_path, range(6), lambda: work, SilentProgress(), "write candidates")
    assert str(error.value) == (
        "write candidates: 2 examples do not fit in memory even alone, example e4 first; finished "
        "parts are kept, this one is not stored; run the same command with more memory or --dtype "
        "bfloat16, or leave the example out: curate forget --where \"id = 'e4'\""
    )
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]
    assert read_parts(tmp_path)[0]["failure"].to_pylist() == ["empty"] * 4


@pytest.mark.parametrize("place", [0, 5, 9])
def test_a_killed_run_goes_on_behind_the_last_whole_part(tmp_path, place):
    broken = Squares(fail_at=place)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, broken)
    resumed = Squares()
    write(tmp_path, resumed)
    assert [*broken.seen, *resumed.seen] == list(range(10))
    assert read_parts(tmp_path)[0]["square"].to_pylist() == [n**2 for n in range(10)]


def test_nothing_is_loaded_when_nothing_is_missing(tmp_path):
    write(tmp_path, Squares())
    again = Squares()
    write(tmp_path, again)
    assert again.n_loaded == 0


def test_parts_that_are_gone_are_named_with_the_way_out(tmp_path):
    with pytest.raises(ProcedureError, match="has no parts left; delete the folder .*procedures"):
        read_parts(tmp_path / "candidates" / "x")
