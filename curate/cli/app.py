"""Assembles the subcommands and turns errors into exit codes."""

import errno
import json
import os
import re
import sys
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn, final

import typer
from typer.core import TyperCommand, TyperGroup

import curate
from curate.api.commands.catalogue import COMMANDS, SUMMARIES
from curate.cli.console import Stdout
from curate.cli.epilogs import EXAMPLES, START, epilog
from curate.contracts.display import printable
from curate.errors import CurateError, did_you_mean

__all__ = ["COMMANDS", "app", "main"]

INTERRUPTED: Final = 130
_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


def _without_types(parameters: list[Any]) -> list[Any]:
    """Let help show no type of Python: ``<bool>`` behind a flag, ``<list[str]>`` behind an argument."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.param_type_name == "argument" and not parameter.type_descriptor.is_choice:
            parameter.display_type = lambda ctx: ""
    return parameters


@final
class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


@final
class _Command(TyperCommand):
    """A command whose module is imported when its parameters are asked for: the list of all needs none."""

    _is_loaded = False

    def get_params(self, ctx: Any) -> list[Any]:
        if not self._is_loaded:
            self._load()
        return _without_types(super().get_params(ctx))

    def _load(self) -> None:
        alone = typer.Typer(add_completion=False)
        alone.command()(import_module(f"curate.cli.{str(self.name).replace('-', '_')}").command)
        loaded = typer.main.get_command(alone)
        self.params, self.callback, self._is_loaded = loaded.params, loaded.callback, True


app = typer.Typer(
    name="curate",
    cls=_Group,
    help="Select the subset of your SFT data worth training on: score once, select forever.",
    epilog=epilog(START),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=dict(_CONTEXT),
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


def _stands_for_one() -> None:
    """Hold the place of a command until it is loaded."""


for _name, _summary in SUMMARIES.items():
    app.command(
        _name,
        cls=_Command,
        context_settings=dict(_CONTEXT),
        help=_summary,
        epilog=epilog(EXAMPLES[_name]),
    )(_stands_for_one)


_WRONG_CHOICE: Final = re.compile(r"'([^']*)' is not one of (.+)$")
_UNKNOWN_OPTION: Final = re.compile(r" \(Possible options: ([^,)]+)[^)]*\)")
_UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that this typer brings or needs
_DISK_ERRORS: Final = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    errno.EMFILE, errno.ETIMEDOUT, errno.ESTALE,
)  # fmt: skip


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 usage, 3 too many failures, 130 interrupted."""
    # A compute thread that waits gives its core away; spinning starves others on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    Stdout.has_document = False
    try:
        code = _parser()(prog_name="curate", standalone_mode=False)
    except CurateError as error:
        _stop(str(error), error.exit_code, type(error).__name__)
    except _UsageError as error:
        if len(sys.argv) == 1:  # no arguments: click raises the help
            error.show()
            sys.exit(2)
        _stop(_usage_line(error), 2, "UsageError")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _stop(f"the path {_short(error)} is too long; give a shorter one", 2, "ConfigError")
        if error.errno not in _DISK_ERRORS:
            raise
        _stop(_disk_line(error), 1, "StoreError")
    if code == INTERRUPTED:
        _stop("interrupted; finished work is saved; rerun the same command to resume", code)
    sys.exit(code or 0)


@cache
def _parser() -> Any:
    """Return the parser of every command; declaring their options takes longer than parsing."""
    return typer.main.get_command(app)


def _stop(message: str, code: int, kind: str = "") -> NoReturn:
    """Exit with an error on stderr and, with ``--json``, as the document of the command on stdout.

    A command that failed too many examples may have printed its result already, which stays the
    only document.
    """
    if "--json" in sys.argv[1:] and kind and not Stdout.has_document:
        error = {"type": kind, "message": message, "exit_code": code}
        typer.echo(printable(json.dumps({"error": error}, indent=2, ensure_ascii=False)))
    typer.echo(printable(f"{kind}: {message}" if kind else message), err=True)
    sys.exit(code)


def _short(error: OSError) -> str:
    return repr(f"{str(error.filename)[:60]}...")


def _usage_line(error: Any) -> str:
    """Return a parser's complaint as one line that points to the help."""
    command = error.ctx.command_path if error.ctx is not None else "curate"
    text = " ".join(error.format_message().split()).replace("Value error, ", "")
    text = text.replace(". Did you mean", "; did you mean").rstrip(".?")
    text = _UNKNOWN_OPTION.sub(lambda found: f"; did you mean {found[1]!r}", text)
    if (choice := _WRONG_CHOICE.search(text)) is not None:
        text += did_you_mean(choice[1], re.findall(r"'([^']*)'", choice[2]))
    return f"{text[0].lower()}{text[1:]}; see {command} --help"


def _disk_line(error: OSError) -> str:
    """Name the file that could not be read or written, and say that the command can be rerun."""
    where = f" {error.filename!r}" if error.filename else ""
    reason = (error.strerror or "reading or writing failed").lower()
    return (
        f"{reason}:{where}; no finished work was lost; free some space or make the "
        "path writable, then rerun the same command"
    )
