"""Fifty seeded kills of commands at any step: run again, each leaves what an unbroken run leaves."""

from pathlib import Path

import pytest
from killed_commands import commands
from killing import COMMITTING, SCORING, STARTING, WRITING, Killer, say, table

# a hundred processes, forked from one that has imported torch
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = {"score": 20, "score x2": 14, "ingest": 6, "select": 5, "export": 5}


def test_fifty_kills_change_nothing(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the command's process, or of a worker of it, with ``kill -9``."""
    made, outcomes = commands(tmp_path, tiny_model), []
    for name, n_kills in KILLS.items():
        killer = Killer(made[name], tmp_path / f"runs {name}")
        killer.folder.mkdir()
        killer.run_unbroken()
        outcomes += [killer.kill(seed) for seed in range(n_kills)]
    with capsys.disabled():
        say("\n" + table(outcomes))
    assert [str(outcome) for outcome in outcomes if outcome.wrong] == []
    assert len(outcomes) == 50
    assert {STARTING, SCORING, WRITING, COMMITTING} <= {outcome.phase for outcome in outcomes}
    assert "worker" in {outcome.target for outcome in outcomes}
