"""Hostile input for every reader, briefly; ``make fuzz`` gives each family ten minutes."""

import os
import threading
from argparse import Namespace
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import DataError
from jobs.fuzz.command import FAMILIES, run_family
from jobs.fuzz.family import READ, Attack, Family
from jobs.fuzz.worker import Worker, observed

N_INPUTS = 60


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_no_input_of_a_family_breaks_its_reader(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = set()

    @settings(max_examples=N_INPUTS, derandomize=True, database=None)
    @given(number=st.integers(0, 2**32))
    def attack(number: int) -> None:
        outcome = observed(FAMILIES[name], 0, number, tmp_path / "input")
        assert not outcome.problem, f"{outcome.problem}\n{outcome.detail}"
        seen.add(outcome.outcome)

    attack()
    assert "refused" in seen


def ill(path: Path, folder: Path) -> str:
    """Do what the bytes say: everything that a reader must not."""
    del folder
    {b"raise": _raises, b"refuse": _refuses, b"end": _ends, b"grow": _grows}[path.read_bytes()]()
    return READ


def _raises() -> None:
    raise KeyError("a")


def _refuses() -> None:
    raise DataError("no; give another")


def _ends() -> None:
    os.abort()


def _grows() -> None:
    held = bytearray(900 << 20)
    held[:: 1 << 12] = b"a" * len(held[:: 1 << 12])


WORDS = (b"raise", b"refuse", b"end", b"grow")


def say(word: bytes, rng: Random) -> Attack:
    del rng
    return Attack(word, "a")


HELD = threading.Lock()


def lock(path: Path, folder: Path) -> str:
    """Need a lock, as Arrow does of its threads."""
    del path, folder
    if not HELD.acquire(timeout=1):
        raise TimeoutError
    return READ


def test_a_reader_does_not_begin_with_locks_that_this_process_holds(tmp_path: Path) -> None:
    worker = Worker(Family("ill", partial(say, b""), lock), 0, tmp_path)
    with HELD:
        assert worker.run(0).outcome == READ
    worker.close()


@pytest.mark.slow
def test_a_traceback_a_crash_and_memory_are_findings_and_a_refusal_is_none(tmp_path: Path) -> None:
    found = []
    for word in WORDS:
        worker = Worker(Family("ill", partial(say, word), ill), 0, tmp_path)
        found.append(worker.run(0))
        worker.close()
    raised, refused, ended, grown = found
    assert raised.outcome == "traceback" and raised.problem.startswith("KeyError at test_fuzz.py")
    assert (refused.outcome, refused.problem) == ("refused", "")
    assert ended.outcome == "crash" and "exit code -6" in ended.detail
    assert grown.problem == "memory" and grown.mib > 768


def test_a_finding_is_saved_and_printed_with_how_to_make_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = Namespace(only=7, seed=3, minutes=1.0, output=tmp_path / "out")
    family = Family("ill", partial(say, b"raise"), ill)
    assert run_family(family, options, tmp_path) == 1
    said = capsys.readouterr().out
    saved = tmp_path / "out" / "ill" / "3-7-a"
    assert saved.read_bytes() == b"raise"
    assert said.startswith("finding: KeyError at test_fuzz.py")
    assert f"\n  input: {saved} (5 bytes)\n" in said
    assert "again: python jobs/fuzz ill --seed 3 --only 7\n" in said
    assert "ill: 1 inputs in " in said and "1 times: KeyError" in said
