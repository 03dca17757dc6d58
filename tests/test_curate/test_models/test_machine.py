"""What Linux says of a machine, and what is made of it."""

import pytest

from curate.models import machine


@pytest.fixture
def said(monkeypatch, tmp_path):
    """Return a function that writes what Linux says in one of its files."""
    for name in ("_CPUINFO", "_MEMINFO", "_CGROUP"):
        monkeypatch.setattr(machine, name, tmp_path / name)
    (tmp_path / "_CGROUP").mkdir()
    machine._said_of_processor.cache_clear()
    yield lambda name, text: (tmp_path / name).write_text(text)
    machine._said_of_processor.cache_clear()


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512_bf16 sse", True),
        ("flags\t\t: fpu amx_bf16", True),
        ("flags\t\t: fpu avx512f avx512bw", False),
        ("Features\t: fp asimd bf16", True),
        ("bugs\t\t: bf16", False),
    ],
)
def test_bfloat16_is_a_flag_of_the_processor(said, line, has):
    said("_CPUINFO", f"processor\t: 0\nmodel name\t: A: chip\n{line}\n\nprocessor\t: 1\n")
    assert machine.has_bfloat16() is has
    assert machine.processor()["model name"] == "A: chip"
    assert "processor" not in machine.processor()


def test_a_system_that_says_nothing_has_no_bfloat16_and_unknown_memory(said):
    assert (machine.has_bfloat16(), machine.processor(), machine.free_bytes()) == (False, {}, None)


def test_free_memory_is_what_a_container_may_still_take(said):
    said("_MEMINFO", "MemTotal: 100 kB\nMemAvailable:   80 kB\n")
    assert machine.free_bytes() == 80 * 1024
    said("_CGROUP/memory.max", "max\n")
    said("_CGROUP/memory.current", "1024\n")
    assert machine.free_bytes() == 80 * 1024
    said("_CGROUP/memory.max", "4096\n")
    assert machine.free_bytes() == 3072
    said("_CGROUP/memory.current", "9999\n")
    assert machine.free_bytes() == 0
