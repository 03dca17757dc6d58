"""Assembles the subcommands and turns errors into exit codes."""

import errno
import os
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn

import typer

import curate
from curate.api.commands.catalogue import COMMANDS
from curate.contracts.display import printable
from curate.errors import CurateError

__all__ = ["COMMANDS", "app", "main"]

INTERRUPTED: Final = 130

app = typer.Typer(
    name="curate",
    help="Select the subset of your SFT data worth training on: score once, select forever.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"curate {curate.__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
    ),
]


@app.callback()
def _root(version: Version = False) -> None:
    del version  # its callback has printed it


for _name, _declared in COMMANDS.items():
    app.command(_name, help=_declared.__doc__)(import_module(f"curate.cli.{_name}").command)


_UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that this typer brings or needs
_DISK_ERRORS: Final = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
)  # fmt: skip


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 too many failures, 130 interrupted."""
    # A compute thread that waits gives its core away; spinning starves others on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = _parser()(prog_name="curate", standalone_mode=False)
    except CurateError as error:
        _stop(f"{type(error).__name__}: {error}", error.exit_code)
    except _UsageError as error:
        if len(sys.argv) == 1:  # no arguments: click raises the help
            error.show()
            sys.exit(2)
        _stop(_usage_line(error), 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _stop(f"ConfigError: the path {_short(error)} is too long; give a shorter one", 2)
        if error.errno not in _DISK_ERRORS:
            raise
        _stop(_disk_line(error), 1)
    if code == INTERRUPTED:
        _stop("interrupted; finished work is saved; rerun the same command to resume", code)
    sys.exit(code or 0)


@cache
def _parser() -> Any:
    """Return the parser of every command; declaring their options takes longer than parsing."""
    return typer.main.get_command(app)


def _stop(line: str, code: int) -> NoReturn:
    typer.echo(printable(line), err=True)
    sys.exit(code)


def _short(error: OSError) -> str:
    return repr(f"{str(error.filename)[:60]}...")


def _usage_line(error: Any) -> str:
    """Return a parser's complaint as one line that points to the help."""
    command = error.ctx.command_path if error.ctx is not None else "curate"
    text = " ".join(error.format_message().split()).replace("Value error, ", "")
    text = text.replace(". Did you mean", "; did you mean").rstrip(".?")
    return f"UsageError: {text[0].lower()}{text[1:]}; see {command} --help"


def _disk_line(error: OSError) -> str:
    """Name the file that could not be read or written, and say that the command can be rerun."""
    where = f" {error.filename!r}" if error.filename else ""
    reason = (error.strerror or "reading or writing failed").lower()
    return (
        f"StoreError: {reason}:{where}; no finished work was lost; free some space or make the "
        "path writable, then rerun the same command"
    )
