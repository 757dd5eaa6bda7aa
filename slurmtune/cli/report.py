"""``slurmtune report NAME=NUMBER ...``: a report from a shell script inside a trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="report", context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
    )(report)


def report(
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=NUMBER...", show_default=False)
    ] = None,
) -> None:
    """Report metrics from a shell script, inside a trial.

    \b
    Examples
      slurmtune report val_loss=0.21
      slurmtune report --step 3 val_loss=0.21 accuracy=0.93

    Outside of a trial the report is printed.
    """
    raise typer.Exit(from_shell(values or []))


def from_shell(words: Sequence[str]) -> int:
    """Report, and return the exit code."""
    from slurmtune.worker.report import report_from_shell

    return report_from_shell(words)
