"""The entry point: all commands, and what becomes of every error that a command ends with."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from slurmtune.cli import (
    best,
    check,
    crash,
    explain,
    fsck,
    init,
    launch,
    logs,
    output,
    replay,
    report,
    schema,
    show,
    status,
    stop,
    trials,
    version,
)
from slurmtune.cli.options import expand_optional_values
from slurmtune.errors import SlurmtuneError

_HELP = """Tune hyperparameters in Slurm job arrays: no server, no database.

\b
Examples
  slurmtune init                      write a spec and a program to start from
  slurmtune check spec.toml           the plan and its cost, nothing submitted
  slurmtune launch spec.toml          start; the same again continues
  slurmtune launch spec.toml --local  without Slurm, on this machine
  slurmtune status                    where it stands
  slurmtune best --args               the best values, for your command line
"""
_ENVIRONMENT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
# A link, a folder or a pipe where a file of a study should be.
_ENVIRONMENT_ERRORS |= {errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENXIO, errno.ESPIPE}

app = typer.Typer(
    name="slurmtune",
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        output.say(version.one_line())
        raise typer.Exit


@app.callback()
def _global(
    *,
    version_wanted: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and details; goes anywhere.")
    ] = False,
) -> None:
    del version_wanted, debug  # the one is done in its callback, the other in `run`


for _module in (init, check, launch, status, trials, show, best, logs, stop, report):
    _module.register(app)
for _module in (explain, replay, fsck, schema, version):
    _module.register(app)


class _PlainFormatter(logging.Formatter):
    """Warnings quote what others wrote."""

    def format(self, record: logging.LogRecord) -> str:
        return output.plain(super().format(record), sys.stderr)


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What the terminal's encoding does not have is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    with output.quiet_pipe():
        code = run(sys.argv[1:])
        sys.stdout.flush()
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    words = [word for word in argv if word != "--debug"]
    is_debugging = len(words) < len(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(
        _PlainFormatter(
            "%(levelname)s: %(name)s: %(message)s" if is_debugging else "warning: %(message)s"
        )
    )
    level = logging.DEBUG if is_debugging else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if words[:1] == ["report"] and words[1:2] not in (["-h"], ["--help"], []):
        # Called once for each epoch of each trial: no time for a parser.
        return report.from_shell(words[1:])
    try:
        result = app(
            args=expand_optional_values(words), prog_name="slurmtune", standalone_mode=False
        )
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the process ends here
        if is_debugging:
            crash.show_traceback(error)
        return _end(error, argv)
    except KeyboardInterrupt:
        return 130


def _end(error: Exception, argv: Sequence[str]) -> int:
    """Tell the user about the error that ended the command; return the exit code."""
    if isinstance(error, SlurmtuneError):
        _tell(error)
        return error.exit_code
    if hasattr(error, "format_message"):
        return _end_usage(error)
    if isinstance(error, typer.Abort):
        return 130
    if isinstance(error, OSError) and (
        error.errno in _ENVIRONMENT_ERRORS or isinstance(error, PermissionError)
    ):
        place = f"{error.filename}: " if error.filename else ""
        output.error(f"{place}{error.strerror}. Jobs that run are not affected")
        return 3
    output.error(crash.message(error, crash.write_report(error, argv)))
    return crash.EXIT_CODE


def _tell(error: SlurmtuneError) -> None:
    message = str(error)
    # The problems of a spec come with their own marks.
    output.complain(message if hasattr(error, "problems") else f"error: {message}")


def _end_usage(error: Any) -> int:
    """Tell about a mistake in the command line itself."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        output.say(context.get_help())
        return 2
    path = context.command_path if context is not None else "slurmtune"
    message = error.format_message().rstrip(".")
    output.error(f"{message[:1].lower()}{message[1:]}\n  help: {path} --help")
    return int(getattr(error, "exit_code", 2))


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "80")
    main()
