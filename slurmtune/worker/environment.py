"""What a program of any language gets: variables ``SLURMTUNE_*``, ``config.json``, ``params.sh``.

A program need not leave when it is done: its trial may be trained on, and then nothing has to be
loaded again. If ``SLURMTUNE_MORE`` is not empty it may

1. report at ``SLURMTUNE_END`` and save there: into ``SLURMTUNE_SAVE``, written as a whole;
2. append ``{"_more": true}`` to ``SLURMTUNE_METRICS``, and wait until there is a file at
   ``SLURMTUNE_MORE`` (at most ``SLURMTUNE_MORE_SECONDS``; a signal ends the waiting too);
3. read it. ``{"end": null}`` means: leave. Otherwise the program now runs another attempt: the
   keys are the variables in lower case, without ``SLURMTUNE_``, with ``start``, ``end`` and
   ``rung`` as numbers. The program removes the file, which says that it goes on, trains from
   ``start`` to ``end``, reports to the new ``metrics``, saves into the new ``save``, and may then
   ask again, at the new ``more``.

Only one process may ask, and only if what it holds at the end is what it saved. What it reports
after it was told to leave is kept with the attempt that it ended, and changes nothing that was
decided.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence

from slurmtune.worker.command import format_value

_PREFIX = "SLURMTUNE_"
_NOT_IN_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]")


class Variables(NamedTuple):
    """What the variables of one attempt say; each field is one ``SLURMTUNE_`` variable."""

    study: str
    """Name of the study."""
    dir: str
    """The study's directory."""
    trial: str
    """``t00007``"""
    trial_dir: str
    """Folder of the trial, kept over its attempts."""
    attempt: str
    """``t00007.r2.a1``"""
    rung: str
    start: str
    """Resource that the training starts from."""
    end: str
    """Resource to train up to; empty when the study has no fidelity."""
    resource: str
    """Word for the resource, such as ``epoch``; empty when the study has no fidelity."""
    seed: str
    config: str
    """Path of the config as JSON."""
    sh: str
    """Path of the config as shell assignments."""
    metrics: str
    """Path of the file to append reports to."""
    checkpoint: str
    """Folder to load; empty on a fresh start."""
    save: str
    """Folder to write a checkpoint to."""
    files: str
    """Folder of the files made from ``[run] files``."""
    objectives: str
    """Names of the metrics that the study wants, with commas between."""
    keep_checkpoints: str
    """How many checkpoints of an attempt are kept."""
    more: str
    """Path of the file that tells what to do after the end; empty: leave."""
    more_seconds: str
    """How long to wait for it at most."""
    bell: str
    """The socket that wakes a program which waits for it, if it was inherited (see `bell`)."""


def program_environment(
    inherited: Mapping[str, str],
    *,
    variables: Variables,
    user_variables: Mapping[str, str],
    library: str,
) -> Dict[str, str]:
    """Return the environment of the program.

    Variables ``SLURMTUNE_*`` of an outer trial do not leak in. ``library`` goes to the end of
    ``PYTHONPATH``, so that it hides nothing; the command beside it is the first on ``PATH``.
    """
    result = {name: value for name, value in inherited.items() if not name.startswith(_PREFIX)}
    # Without it the output of a killed Python program would be lost, and parsed late.
    result.setdefault("PYTHONUNBUFFERED", "1")
    result.update(user_variables)
    if library:
        path = result.get("PYTHONPATH", "")
        result["PYTHONPATH"] = f"{path}{os.pathsep}{library}" if path else library
        commands = os.path.join(os.path.dirname(library), "bin")
        result["PATH"] = commands + os.pathsep + result.get("PATH", os.defpath)
        result["SLURMTUNE_PYTHON"] = sys.executable
    for name, value in variables._asdict().items():
        result[_PREFIX + name.upper()] = value
    return result


def handover(variables: Variables, *, rung: int, start: float, end: Optional[float]) -> bytes:
    """Return the text of ``more.json`` for a program that goes on as another attempt."""
    record: Dict[str, Any] = dict(variables._asdict())
    record.update(rung=rung, start=start, end=end)
    return (json.dumps(record) + "\n").encode("ascii")


NO_MORE = b'{"end": null}\n'
"""The text of ``more.json`` for a program that is to leave."""


def config_json(config: Mapping[str, Any]) -> bytes:
    """Return the text of ``config.json``."""
    return (json.dumps(dict(config)) + "\n").encode("ascii")


def shell_assignments(config: Mapping[str, Any]) -> bytes:
    """Return the text of ``params.sh``: one quoted assignment a line.

    Characters that a shell's names cannot have become ``_``: ``opt.lr`` is ``opt_lr``.
    """
    lines = [
        f"{shell_name(name)}={shlex.quote(format_value(value))}\n"
        for name, value in config.items()
    ]
    return "".join(lines).encode("utf-8", "surrogatepass")


def shell_name(name: str) -> str:
    """Return ``name`` as an identifier of the shell."""
    plain = _NOT_IN_IDENTIFIER.sub("_", name)
    return "_" + plain if not plain or plain[0].isdigit() else plain


def format_number(number: Optional[float]) -> str:
    """Return a resource as text: ``3``, ``0.5``; empty for None."""
    if number is None:
        return ""
    whole = int(number)
    return str(whole) if whole == number else repr(number)


def join_names(names: Sequence[str]) -> str:
    """Return names with commas between, as in ``SLURMTUNE_OBJECTIVES``."""
    return ",".join(names)
