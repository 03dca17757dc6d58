"""``python jobs/fuzz [FAMILY ...]``: give every reader hostile input, and save what breaks it."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from jobs.fuzz.command import main

    sys.exit(main())
