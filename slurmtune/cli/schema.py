"""``slurmtune schema``: the JSON Schema of a spec, for editors."""

from __future__ import annotations

import json

import typer

from slurmtune.cli import output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="schema")(schema)


def schema() -> None:
    """Print the JSON Schema of a spec, so that an editor completes and checks it.

    \b
    Example
      slurmtune schema > slurmtune.schema.json
      # first line of spec.toml:  #:schema slurmtune.schema.json
    """
    from slurmtune.spec.schema import json_schema

    output.say(json.dumps(json_schema(), indent=2))
