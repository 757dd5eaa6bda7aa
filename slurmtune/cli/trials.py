"""``slurmtune trials``: all trials as a table."""

from __future__ import annotations

import csv as csv_module
import math
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.cli import output, study, text
from slurmtune.cli.options import JsonOption, StudyArgument
from slurmtune.core.ids import trial_id
from slurmtune.core.trial import TrialState
from slurmtune.errors import UsageError

if TYPE_CHECKING:
    from slurmtune.core.record import AttemptRecord, TrialRecord
    from slurmtune.core.study import Study

_SHOWN = 20
_FIXED_KEYS = ("trial", "rung", "state", "resource", "value", "node", "gpu_hours")


class StateWord(Enum):
    """States of a trial as people say them."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


_WORDS = {
    TrialState.WAITING: StateWord.WAITING,
    TrialState.RUNNING: StateWord.RUNNING,
    TrialState.PAUSED: StateWord.PAUSED,
    TrialState.COMPLETED: StateWord.DONE,
    TrialState.STOPPED: StateWord.STOPPED,
    TrialState.FAILED: StateWord.FAILED,
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="trials")(trials)


def trials(
    name: StudyArgument = None,
    *,
    top: Annotated[int, typer.Option("--top", min=1, help="Show so many.")] = _SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="Show every trial.")] = False,
    state: Annotated[
        StateWord | None, typer.Option("--state", help="Only these.", show_default=False)
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="KEY",
            help="By a hyperparameter, or by trial, rung, value, gpu_hours.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, numbers in full.")] = False,
    json: JsonOption = False,
) -> None:
    """Show the trials, the best first: those of higher rungs before those of lower ones.

    \b
    Examples
      slurmtune trials --top 4
      slurmtune trials --state failed
      slurmtune trials --sort lr --all
      slurmtune trials --csv > trials.csv
    """
    layout = study.find(name)
    whole = study.read_study(layout)
    rows = [row(whole, trial) for trial in whole.trials]
    rows = _sorted(whole, rows, sort)
    if state is not None:
        rows = [one for one in rows if one["state"] == state.value]
    if json:
        output.say_json(rows)
    elif csv:
        _print_csv(whole, rows)
    else:
        shown = rows if everything else rows[:top]
        _print_table(whole, shown, _resource_word(layout))
        _print_more(len(rows) - len(shown), any_shown=bool(rows))


def row(whole: Study, trial: TrialRecord) -> dict[str, Any]:
    """Return one trial as data for JSON and tables."""
    attempt = trial.last_attempt
    ladder = whole.scheduler.ladder(trial.bracket)
    is_on_its_way = (attempt is not None and attempt.is_live) or trial.finished_rung < 0
    rung = whole.rung_of(trial) if is_on_its_way else trial.finished_rung
    gpus = whole.limits.gpus
    return {
        "trial": trial_id(trial.number),
        "rung": rung,
        "state": state_of(whole, trial).value,
        "resource": _reached(trial, attempt, ladder),
        "of": ladder[rung],
        "metric": whole.settings.objective.metric,
        "value": current_value(trial, attempt),
        "values": {str(rung): found for rung, found in trial.values.items()},
        "params": dict(trial.config),
        "origin": trial.origin,
        "node": "" if attempt is None else attempt.host,
        "job": "" if attempt is None else attempt.job,
        "cause": "" if attempt is None else attempt.cause,
        "attempts": len(trial.attempts),
        "seconds": sum(one.seconds for one in trial.attempts),
        "gpu_hours": sum(one.seconds * gpus.get(one.resource_class, 0) for one in trial.attempts)
        / 3600,
        "checkpoint": trial.checkpoint,
    }


def state_of(whole: Study, trial: TrialRecord) -> StateWord:
    """Return the state of a trial for people.

    A trial that paused may go on only as long as its study may; then it is done.
    """
    word = _WORDS[trial.state]
    is_over = bool(whole.finished) and whole.halt not in {"paused", "stopped"}
    return StateWord.DONE if word is StateWord.PAUSED and is_over else word


def current_value(trial: TrialRecord, attempt: AttemptRecord | None) -> float | None:
    """Return the newest value of the objective: of a live attempt, else of the last rung.

    Of a trial that was stopped on its way to its first rung: the last one reported.
    """
    if attempt is not None and attempt.is_live and attempt.value is not None:
        return attempt.value
    finished = [found for found in trial.values.values() if found is not None]
    if finished:
        return finished[-1]
    if attempt is None or trial.state is not TrialState.STOPPED:
        return None
    return attempt.value


def _reached(
    trial: TrialRecord, attempt: AttemptRecord | None, ladder: Sequence[float | None]
) -> float | None:
    """Return how far the trial is; None: nowhere yet.

    Of a trial that finished a rung where the value that counts there was reported, of others the
    largest resource that they reported or could begin from.
    """
    if attempt is None:
        return None
    if attempt.is_live:
        return attempt.start or None if attempt.resource is None else attempt.resource
    rung = trial.finished_rung
    if rung >= 0 and trial.state is not TrialState.FAILED:
        return trial.other_resources.get(rung, ladder[rung])
    found = (one.start if one.resource is None else one.resource for one in trial.attempts)
    return max(found) or None


def _sorted(whole: Study, rows: list[dict[str, Any]], key: str | None) -> list[dict[str, Any]]:
    """Return the rows in the wanted order.

    Raises:
        UsageError: there is nothing of that name.
    """
    if key is None:
        found = whole.scheduler.leaders()
        leaders = [] if found is None else [trial_id(number) for number in found.trials]
        return sorted(rows, key=lambda one: _rank(whole, one, leaders))
    if key == whole.settings.objective.metric:
        key = "value"
    if key in _FIXED_KEYS:
        return sorted(rows, key=lambda one: _order(one[key]))
    known = sorted({name for one in rows for name in one["params"]})
    if rows and key not in known:
        raise UsageError(
            f"cannot sort by {key!r}; one of: {', '.join([*known, 'trial', 'rung', 'value'])}"
        )
    return sorted(rows, key=lambda one: _order(one["params"].get(key)))


def _rank(
    whole: Study, one: Mapping[str, Any], leaders: Sequence[str]
) -> tuple[bool, int, int, float, str]:
    """Sort failed trials last, the scheduler's leaders first, then by rung and value."""
    finished = [int(rung) for rung, found in one["values"].items() if found is not None]
    rung = max(finished, default=-1)
    loss = whole.settings.objective.loss(one["values"].get(str(rung), one["value"]))
    place = leaders.index(one["trial"]) if one["trial"] in leaders else len(leaders)
    better = math.inf if loss is None else loss
    return one["state"] == "failed", place, -rung, better, one["trial"]


def _order(item: Any) -> tuple[int, float, str]:
    """Sort numbers before texts before what is missing."""
    if isinstance(item, (int, float)):
        return 0, float(item) if item == item else math.inf, ""  # noqa: PLR0124
    return (2, 0.0, "") if item is None else (1, 0.0, str(item))


def _print_table(whole: Study, rows: Sequence[Mapping[str, Any]], resource: str) -> None:
    names = list(dict.fromkeys(name for one in rows for name in one["params"]))
    columns: list[tuple[str, str, Any]] = [
        ("trial", "<", lambda one: one["trial"]),
        ("rung", ">", lambda one: str(one["rung"])),
        ("state", "<", lambda one: one["state"]),
        (text.many(resource), ">", _progress),
        (whole.settings.objective.metric, ">", lambda one: text.metric(one["value"])),
        *((name, ">", _param(name)) for name in names),
        ("node", "<", lambda one: text.printable(one["node"]) or "-"),
        ("GPU-h", ">", lambda one: f"{one['gpu_hours']:.2f}"),
    ]
    if not resource:
        del columns[3]
    if len(whole.scheduler.ladder(0)) == 1:
        columns = [column for column in columns if column[0] != "rung"]
    if not any(one["gpu_hours"] for one in rows):
        columns.pop()
    cells = [[title for title, _, _ in columns]]
    cells += [[shown(one) for _, _, shown in columns] for one in rows]
    lines = text.table(cells, "".join(side for _, side, _ in columns)).splitlines()
    # On a terminal a line that is too long would make the whole table unreadable.
    width = output.columns() if study.is_watched() else sys.maxsize
    output.say("\n".join(text.cut(line, width) for line in lines))


def _print_more(hidden: int, *, any_shown: bool) -> None:
    if not any_shown:
        output.say("no such trials")
    elif hidden:
        output.say(f"{hidden} more: --all   --state failed   --sort lr   --json   --csv")


def _print_csv(whole: Study, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for one in rows for name in one["params"]))
    plain = ("trial", "state", "rung", "resource", "value", "origin", "node", "job", "seconds")
    titles = ["value" if key == "value" else key for key in plain]
    titles[plain.index("value")] = whole.settings.objective.metric
    writer = csv_module.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(_cell, [*titles, "gpu_hours", *names]))
    for one in rows:
        params = [one["params"].get(name, "") for name in names]
        cells = [one[key] for key in plain]
        writer.writerow([_cell(x) for x in [*cells, one["gpu_hours"], *params]])


def _cell(item: Any) -> Any:
    """Return the cell of a value: a text that a spreadsheet would calculate gets a quote."""
    if not isinstance(item, str):
        return "" if item is None else item
    shown = text.printable(item)
    return f"'{shown}" if item.startswith(("=", "+", "-", "@", "\t", "\r")) else shown


def _progress(one: Mapping[str, Any]) -> str:
    if one["of"] is None:
        return text.resource(one["resource"])
    return f"{text.resource(one['resource'] or 0)}/{text.resource(one['of'])}"


def _param(name: str) -> Any:
    return lambda one: text.value(one["params"].get(name))


def _resource_word(layout: Any) -> str:
    fidelity = study.identity(layout).get("spec", {}).get("fidelity") or {}
    return str(fidelity.get("resource", ""))
