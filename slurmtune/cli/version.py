"""``slurmtune version``: what is installed, for a report of an error."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

from slurmtune import __version__
from slurmtune.cli import output
from slurmtune.cli.options import JsonOption

_LIBRARIES = ("submitit", "numpy", "scipy", "scikit-learn", "pydantic", "typer")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="version")(version)


def one_line() -> str:
    """Return name and version."""
    return f"slurmtune {__version__}"


def version(*, json: JsonOption = False) -> None:
    """Print the versions of slurmtune, Python and the libraries below it.

    \b
    Example
      slurmtune version
    """
    libraries = {name: _version_of(name) for name in _LIBRARIES}
    if json:
        output.say_json(
            {
                "slurmtune": __version__,
                "python": platform.python_version(),
                "libraries": libraries,
            }
        )
        return
    output.say(one_line())
    for name, found in {"Python": platform.python_version(), **libraries}.items():
        output.say(f"  {name:<13} {found or 'not installed'}")


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
