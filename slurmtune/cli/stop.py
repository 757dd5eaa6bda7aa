"""``slurmtune stop [TRIAL]``: end a study or one trial; results and checkpoints stay.

A living driver does it. Where there is none the slots are ended from here; the journal needs no
record of that, since the next driver sees that they are gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slurmtune.analysis import record
from slurmtune.cli import clock, output, study, text, trials
from slurmtune.cli.options import JsonOption, YesOption, parse_trial, study_and_trial
from slurmtune.core.ids import trial_id
from slurmtune.store import control
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.core.study import Study

_ANSWER_SECONDS = 20.0
"""How long a driver may take to obey: it may be waiting for sbatch."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="stop")(stop)


def stop(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY] [TRIAL]",
            help="A trial such as t0017; left out: the whole study.",
            show_default=False,
        ),
    ] = None,
    *,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Stop a study, or one trial of it. Checkpoints and results stay.

    \b
    Examples
      slurmtune stop                all of it, asks first
      slurmtune stop asha --yes
      slurmtune stop t0017          this trial for good, the study goes on
    """
    name, wanted = study_and_trial(words)
    layout = study.find(name)
    if wanted is not None:
        done = _stop_trial(layout, parse_trial(wanted)[0])
    else:
        done = _stop_study(layout, yes=yes)
    if json:
        output.say_json({"study": study.name(layout), "trial": wanted, "done": done})
    else:
        output.say(done)


def _stop_trial(layout: StudyLayout, number: int) -> str:
    whole = study.read_study(layout)
    study.must_exist(whole, number)
    state = trials.state_of(whole, whole.trials[number])
    if state in {trials.StateWord.DONE, trials.StateWord.STOPPED, trials.StateWord.FAILED}:
        return f"{trial_id(number)} is {state.value} already: there is nothing to stop"
    record.request_stop(layout, number)
    if not study.driver_state(layout).alive:
        return f"no driver runs: {trial_id(number)} is stopped at the next launch"
    if _is_obeyed(layout):
        return f"{trial_id(number)} is stopped"
    return f"{trial_id(number)} will be stopped: the driver is busy, or does not answer"


def _stop_study(layout: StudyLayout, *, yes: bool) -> str:
    overview = study.overview_of(layout)
    waiting, running = overview["slots"]["waiting"], overview["slots"]["running"]
    jobs = _jobs(waiting, running)
    name = study.name(layout)
    is_driven = study.driver_state(layout).alive
    whole = None if is_driven else study.read_study(layout)
    if whole is not None:
        if not whole.fleet.live_arrays:
            return f"{name}: nothing runs and nothing waits"
        jobs = f"up to {text.plural(_live(whole), 'job')}"
    if not output.ask(f"{name}: cancel {jobs}? Checkpoints stay.", yes=yes):
        return "nothing was stopped"
    if whole is not None:
        done = _stop_undriven(layout, whole)
    else:
        record.request_stop(layout, None)
        if _is_obeyed(layout):
            done = f"cancelled {jobs}"
        elif study.driver_state(layout).alive:
            done = "asked the driver to stop; it is busy, or does not answer"
        else:
            # It ended in between. What it did not read would stop the next launch at once.
            _take_back(layout)
            done = _stop_undriven(layout, study.read_study(layout))
    again = study.command_to_continue(layout, is_local=overview["backend"] == "local")
    kept = text.plural(sum(row["done"] for row in overview["rungs"]), "result")
    return f"{name}: {done}. {kept} kept.   continue: {again}"


def _stop_undriven(layout: StudyLayout, whole: Study) -> str:
    from slurmtune.spec.cluster import cancel_slots

    cancel_slots(layout, whole)
    return "cancelled its jobs"


def _take_back(layout: StudyLayout) -> None:
    for name, command in control.receive(layout):
        if command["command"] == "stop" and command.get("trial") is None:
            control.acknowledge(layout, name)


def _jobs(waiting: int, running: int) -> str:
    """Return ``9 waiting and 12 running jobs``; what there are none of is left out."""
    counts = {"waiting": waiting, "running": running}
    words = [f"{count} {state}" for state, count in counts.items() if count]
    if not words:
        return "no jobs"
    return f"{text.joined(words)} job{'' if waiting + running == 1 else 's'}"


def _live(whole: Study) -> int:
    return sum(array.live for array in whole.fleet.live_arrays.values())


def _is_obeyed(layout: StudyLayout) -> bool:
    """Wait until the driver has taken all commands; tell whether it did."""
    deadline = clock.now() + _ANSWER_SECONDS
    while True:
        if control.is_empty(layout):
            return True
        if clock.now() >= deadline or not study.driver_state(layout).alive:
            return False
        clock.pause(0.2)
