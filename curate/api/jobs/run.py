"""What a background process runs: one ordinary `curate` command, whose outcome goes into its record.

Called as ``python -m curate.api.jobs.run RECORD.json``.
"""

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Final

from curate.store.parts import read_json, write_json
from curate.store.records import utc_now

PROGRAM: Final = "curate"  # run by its name, as ``python -m curate`` is: nothing here imports it
INTERRUPTED: Final = 130  # the exit code of a command that Ctrl-C has stopped


def run(path: Path) -> None:
    """Run the command of a record; write the process id at the start and the exit code at the end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a kernel may have it ignored
    record = read_json(path) | {"pid": os.getpid(), "started_at": utc_now()}
    write_json(path, record)
    sys.argv = record["command"]
    code: object = 1
    try:
        runpy.run_module(PROGRAM, run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
        raise
    except KeyboardInterrupt:  # before the command itself could tell it
        code = INTERRUPTED
        raise SystemExit(INTERRUPTED) from None
    finally:
        sys.stdout.flush()
        ended = {"exit_code": code if isinstance(code, int) else 1, "ended_at": utc_now()}
        write_json(path, record | ended)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
