"""Kill random commands at random moments for a while, and count where the kills landed: ``make soak``.

``SOAK_MINUTES`` (30) says for how long, ``SOAK_SEED`` (the time) where to begin. A command is killed, terminated,
hung up or interrupted twice, then run again, and its store compared with that of an unbroken run; no
worker may outlive it. A folder where something is wrong is kept and named.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from killed_commands import commands, tiny_model
from killing import Killer, Outcome, say, table

SENT = (
    (signal.SIGKILL,), (signal.SIGKILL,), (signal.SIGTERM,), (signal.SIGHUP,),
    (signal.SIGINT, signal.SIGINT),
)  # fmt: skip


def soak(minutes: float, first_seed: int) -> list[Outcome]:
    """Kill until the time is over; print what goes wrong, and a line a minute."""
    folder = Path(tempfile.mkdtemp(prefix="curate-soak-"))
    say(f"soak: seeds from {first_seed}, folders in {folder}")
    killers = []
    for name, command in commands(folder, tiny_model(folder / "model")).items():
        runs = folder / name.replace(" ", "-")
        runs.mkdir()
        killers.append(Killer(command, runs, SENT))
        killers[-1].run_unbroken()
    outcomes: list[Outcome] = []
    draw, ends, said = random.Random(first_seed), time.monotonic() + 60 * minutes, time.monotonic()
    while time.monotonic() < ends:
        outcomes.append(draw.choice(killers).kill(first_seed + len(outcomes)))
        if outcomes[-1].wrong or time.monotonic() - said > 60:
            said = time.monotonic()
            say(f"{len(outcomes):>6} kills; {outcomes[-1]}")
    return outcomes


def main() -> None:
    """Soak as the environment says; exit with 1 if anything went wrong."""
    seed = int(os.environ.get("SOAK_SEED", "0")) or int(time.time())
    outcomes = soak(float(os.environ.get("SOAK_MINUTES", "30")), seed)
    say(table(outcomes))
    sys.exit(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    main()
