"""What the ways of using slots are worth: the same study on the same busy cluster, in each way.

The cluster has 16 machines and a queue in which each slot waits for ten minutes on average; a slot
needs a minute before it can work, a program half a minute before it trains. ASHA on rungs of 1, 3,
9 and 27 units, five minutes a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from slurmtune.backends.simulator import Constant, Exponential
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.study_rig import StudyRig

MACHINES = 16
_LEVELS = (1, 3, 9, 27)
_UNIT_SECONDS = 300.0
_LIMIT_SECONDS = 4 * 3600


class Shape(NamedTuple):
    """One way of using slots."""

    name: str
    reuse: bool
    """Whether a slot serves one attempt after the other."""
    in_place: bool
    """Whether a program goes on with the next attempt of its trial."""
    ahead: float
    """Slots that are queued for each attempt in flight."""


SHAPES = (
    Shape("a new slot for each attempt", reuse=False, in_place=False, ahead=1.0),
    Shape("  that stays while its trial goes on", reuse=False, in_place=True, ahead=1.0),
    Shape("slots that serve several", reuse=True, in_place=False, ahead=1.0),
    Shape("  and continue in place", reuse=True, in_place=True, ahead=1.0),
    Shape("  and are queued twice ahead", reuse=True, in_place=True, ahead=2.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How a study went in one shape."""

    used_of_allocated: float
    """Part of the time of all slots in which programs trained."""
    used_of_machines: float
    """Part of the time of all machines, from the launch until nothing was left to start, in which
    they did: what comes after is the wait for the last few trials, the same in every shape."""
    first_hours: float
    """Until the first trial had completed all rungs."""
    hours: float
    """Until the study was done."""
    slots: float
    """Slots that were submitted."""


def run_shape(shape: Shape, seed: int, *, trials: int = 300) -> Figures:
    """Live through the study in this shape."""
    request = ResourceRequest(name="c0", gpus=1, time_limit_seconds=_LIMIT_SECONDS)
    rig = StudyRig(
        trials=trials,
        slots=MACHINES,
        levels=_LEVELS,
        program=PowerLawCurves(seconds=_UNIT_SECONDS),
        model={
            "queue_wait": Exponential(600.0),
            "startup": Constant(60.0),
            "load_seconds": 30.0,
            "checkpoint_every": 1,
            "reuse": shape.reuse,
            "continue_in_place": shape.in_place,
        },
        limits={"retry_timeout": 5},
        seed=seed,
        cluster_seed=seed,
        woken=False,
        requests={"c0": request},
        longest_tick_seconds=5.0,
        ahead=shape.ahead,
    )
    reason = rig.run()
    assert reason == "done", f"the study ended as {reason!r}"
    wall = rig.clock.now()
    attempts = [attempt for trial in rig.study.trials for attempt in trial.attempts]
    trained = _UNIT_SECONDS * sum(
        max(0, (a.saved if a.saved is not None else a.start) - a.start) for a in attempts
    )
    allocated = sum(span.seconds_until(wall) for span in rig.cluster.slot_spans())
    until = max(trial.attempts[0].queued_time for trial in rig.study.trials)
    busy = [sum(rig.cluster.busy_seconds(time).values()) for time in (until, wall)]
    ends = [
        attempt.ended_time
        for attempt in attempts
        if attempt.rung == len(_LEVELS) - 1
        and attempt.outcome is Outcome.SUCCEEDED
        and attempt.ended_time is not None
    ]
    return Figures(
        used_of_allocated=trained / allocated,
        used_of_machines=trained * busy[0] / busy[1] / (MACHINES * until),
        first_hours=min(ends) / 3600,
        hours=wall / 3600,
        slots=sum(array.size for array in rig.study.fleet.arrays.values()),
    )


def mean(figures: Sequence[Figures]) -> Figures:
    """Return the average over studies."""
    return Figures(
        **{
            field.name: sum(getattr(one, field.name) for one in figures) / len(figures)
            for field in fields(Figures)
        }
    )
