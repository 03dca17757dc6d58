"""Fifty seeded kills of commands at any step: run again, each leaves what an unbroken run leaves."""

import signal
from pathlib import Path

import pytest
from killed_commands import commands
from killing import Command, Killer, say, table
from stepping import COMMITTING, DRIVER, SCORING, STARTING, WORKER, WRITING, Aim

# a hundred processes, forked from one that has imported torch
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = {"score": 15, "score x2": 16, "ingest": 5, "commit": 4, "select": 5, "export": 5}
LANDED = {
    ("score", DRIVER): {STARTING, SCORING, WRITING, COMMITTING},
    ("score x2", DRIVER): {STARTING, WRITING, COMMITTING},
    ("score x2", WORKER): {SCORING, WRITING},
    ("ingest", DRIVER): {STARTING, WRITING, COMMITTING},
    ("commit", DRIVER): {STARTING, COMMITTING},
    ("select", DRIVER): {STARTING, WRITING, COMMITTING},
    ("export", DRIVER): {STARTING, WRITING},
}

SECOND_SHARD = Aim(WORKER, SCORING, 6)  # a worker begins or goes on to score five times a shard


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    return commands(tmp_path_factory.mktemp("killed"), tiny_model)


def unbroken(command: Command, folder: Path) -> Killer:
    killer = Killer(command, folder / command.name)
    killer.folder.mkdir()
    killer.run_unbroken()
    return killer


@pytest.fixture(scope="module")
def two_workers(made: dict[str, Command], tmp_path_factory: pytest.TempPathFactory) -> Killer:
    return unbroken(made["score x2"], tmp_path_factory.mktemp("signalled"))


def test_fifty_kills_change_nothing_and_leave_nothing(
    made: dict[str, Command], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the command's process, or of a worker of it, with ``kill -9``."""
    outcomes = []
    for name, n_kills in KILLS.items():
        killer = unbroken(made[name], tmp_path)
        outcomes += [killer.kill(seed) for seed in range(n_kills)]
    with capsys.disabled():
        say("\n" + table(outcomes))
    assert [str(outcome) for outcome in outcomes if outcome.wrong] == []
    assert len(outcomes) == 50
    for (name, target), phases in LANDED.items():
        found = {o.phase for o in outcomes if (o.name, o.target) == (name, target)}
        assert phases <= found, (name, target)


def test_a_closed_terminal_stops_scoring_like_ctrl_c(two_workers: Killer) -> None:
    two_workers.sent = ((signal.SIGHUP,),)
    outcome = two_workers.kill(0, SECOND_SHARD)
    assert outcome.wrong == []
    assert (outcome.target, outcome.exit_code) == ("SIGHUP", 130)
    beginning, _, rest = outcome.said.partition(" of 12 shards are saved; ")
    assert beginning.startswith("InterruptedRunError: interrupted: ")
    assert 1 <= int(beginning.rpartition(" ")[2]) < 12
    assert rest == "rerun the same command to resume\n"


@pytest.mark.parametrize("seed", [0, 1])
def test_ctrl_c_twice_ends_scoring_and_its_workers(two_workers: Killer, seed: int) -> None:
    two_workers.sent = ((signal.SIGINT, signal.SIGINT),)
    outcome = two_workers.kill(seed, SECOND_SHARD)
    assert outcome.wrong == []
    assert (outcome.target, outcome.exit_code) == ("SIGINT+SIGINT", 130)
    assert outcome.said.endswith("rerun the same command to resume\n")
    assert "Traceback" not in outcome.said
