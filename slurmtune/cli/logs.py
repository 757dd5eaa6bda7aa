"""``slurmtune logs [TRIAL]``: what the program of a trial printed; without one, the newest slot.

Nothing is replayed: the folder of a trial tells its attempts.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from slurmtune.cli import clock, output, study, text
from slurmtune.cli.options import parse_trial, study_and_trial
from slurmtune.core.ids import parse_attempt_id, trial_id
from slurmtune.errors import StudyNotFoundError
from slurmtune.store import event_log, fs
from slurmtune.store.layout import StudyLayout

_LINES = 40
_MOST_BYTES = 4 * 1024 * 1024
_LOOK_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="logs")(logs)


def logs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY] [TRIAL]",
            help="Such as t0017, 17 or 17@2 for its rung 2; left out: the newest slot.",
            show_default=False,
        ),
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the attempt ends.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Last so many.")] = _LINES,
    rung: Annotated[
        int | None, typer.Option("--rung", min=0, help="The attempt at it.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every attempt, every line.")] = False,
) -> None:
    """Show the last lines that a trial printed.

    \b
    Examples
      slurmtune logs t0017
      slurmtune logs 17 -f
      slurmtune logs                what the newest Slurm job printed
    """
    name, wanted = study_and_trial(words)
    layout = study.find(name)
    if wanted is None:
        _show_newest_slot(layout, None if everything else lines)
        return
    number, given_rung = parse_trial(wanted)
    attempts = _attempts(layout, number, rung if rung is not None else given_rung)
    ends: dict[str, int] = {}
    for attempt in attempts if everything else attempts[-1:]:
        output.say(_headline(layout, attempt))
        first = _first_in_process(layout, attempt)
        if first != attempt:
            where = "is above" if first in ends else "this is"
            output.say(f"(it went on in the process of {_name(first)}, whose output {where})")
        if first not in ends:
            ends[first] = _print_end(layout.output(first), None if everything else lines)
    if follow:
        _follow(layout, attempts[-1], layout.output(first), ends[first])


def _first_in_process(layout: StudyLayout, attempt: str) -> str:
    """Return the attempt that the process of this one began with: its output is there."""
    names = _attempts(layout, parse_attempt_id(attempt).trial, None)
    place = names.index(attempt)
    while place and _first_and_last(layout, names[place])[0].get("continued") is True:
        place -= 1
    return names[place]


def _attempts(layout: StudyLayout, number: int, rung: int | None) -> list[str]:
    """Return the names of the attempts that were started, oldest first.

    Raises:
        StudyNotFoundError: there are none.
    """
    try:
        names = fs.list_dir(layout.trial(number))
    except FileNotFoundError:
        names = []
    found = [key for key in map(_key, names) if key is not None and rung in (None, key[0])]
    if not found:
        at = "" if rung is None else f" at rung {rung}"
        raise StudyNotFoundError(
            f"{trial_id(number)} has not started{at}; see  slurmtune trials --all"
        )
    return [name for _, _, name in sorted(found)]


def _key(name: str) -> tuple[int, int, str] | None:
    try:
        key = parse_attempt_id(name)
    except ValueError:
        return None
    return key.rung, key.number, name


def _headline(layout: StudyLayout, attempt: str) -> str:
    words = [_name(attempt)]
    start, end = _first_and_last(layout, attempt)
    if start:
        words += [f"job {start.get('job', '?')}", text.printable(str(start.get("host", "?")))]
    if not end:
        words.append("still running" if start else "not started")
    elif end.get("outcome") == "SUCCEEDED":
        words.append("ok")
    elif end.get("exit_code") is not None:
        words.append(f"exit code {end['exit_code']}")
    else:
        words.append(str(end.get("outcome", "")).lower().replace("_", " "))
    return output.paint(f"== {', '.join(words)} ==", "bold")


def _name(attempt: str) -> str:
    key = parse_attempt_id(attempt)
    again = f", attempt {key.number}" if key.number > 1 else ""
    return f"{trial_id(key.trial)} rung {key.rung}{again}"


def _first_and_last(layout: StudyLayout, attempt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the records of start and end; each empty when it is not there."""
    try:
        records = event_log.read(layout.events(attempt))
    except FileNotFoundError:
        return {}, {}
    start = next((dict(one) for one in records if one.get("k") == event_log.START), {})
    end = next((dict(one) for one in reversed(records) if one.get("k") == event_log.END), {})
    return start, end


def _print_end(path: str, lines: int | None) -> int:
    """Print the end of a file, and return its size."""
    try:
        size = os.stat(path).st_size
        data = fs.read_file(path, max(0, size - _MOST_BYTES) if lines is not None else 0)
    except FileNotFoundError:
        output.say("(it printed nothing)")
        return 0
    shown = data.decode("utf-8", "replace").splitlines()
    output.say(
        "\n".join(map(_safe, shown if lines is None else shown[-lines:])) or "(it printed nothing)"
    )
    return size


def _follow(layout: StudyLayout, attempt: str, path: str, offset: int) -> None:
    """Print what is appended to the output at ``path`` until the attempt has ended."""
    while True:
        has_ended = bool(_first_and_last(layout, attempt)[1])
        try:
            data = fs.read_file(path, offset)
        except FileNotFoundError:
            data = b""
        offset += len(data)
        sys.stdout.write("\n".join(map(_safe, data.decode("utf-8", "replace").split("\n"))))
        sys.stdout.flush()
        if has_ended:
            output.say(_headline(layout, attempt))
            return
        clock.pause(_LOOK_SECONDS)


def _show_newest_slot(layout: StudyLayout, lines: int | None) -> None:
    """Print the log of the slot that printed last.

    Raises:
        StudyNotFoundError: no slot has printed anything.
    """
    paths = [os.path.join(layout.logs, name) for name in fs.list_dir(layout.logs)]
    paths = [path for path in paths if path.endswith(".log")]
    if not paths:
        raise StudyNotFoundError(f"no slot has started yet: {layout.logs} is empty")
    newest = max(paths, key=lambda path: os.stat(path).st_mtime)
    output.say(output.paint(f"== {text.short_path(newest)} ==", "bold"))
    _print_end(newest, lines)


def _safe(line: str) -> str:
    """Return a line of a program: colours pass on a terminal, nothing else that steers it."""
    return line if line.isprintable() else text.printable(line.rpartition("\r")[2])
