"""``python -m curate``: the command line without its script."""

from curate.cli import main

if __name__ == "__main__":
    main()
