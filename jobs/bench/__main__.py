"""``python jobs/bench``: measure speed and memory, print the table, write the reports."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    if any(word.partition("=")[0] == "--device" for word in sys.argv[1:]):
        from jobs.bench.gpu.command import main
    else:
        from jobs.bench.command import main

    sys.exit(main())
