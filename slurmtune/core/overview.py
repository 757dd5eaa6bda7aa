"""The state of a study in one JSON object: what ``status``, ``best`` and the live line show.

Its fields are only ever added (schema ``slurmtune.status/1``). Making it costs no more than the
number of rungs and of live attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slurmtune.core.ids import trial_id
from slurmtune.core.record import AttemptRecord, TrialRecord
from slurmtune.core.results import RungCount
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState

SCHEMA = "slurmtune.status/1"
_SHOWN = 5
"""Trials in the ranking of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSlots:
    """Slots that wait for the same reason."""

    reason: str
    """Slurm's word; empty when not known."""
    slots: int
    start: float | None
    """When the first of them should start, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the study itself does not know."""

    name: str
    directory: str
    backend: str
    resource: str
    """Name of the resource, such as ``epoch``; empty when trials are not cut into rungs."""
    now: float
    opened: float
    """When the study was opened first, in seconds since 1970."""
    waiting: Sequence[WaitingSlots] = ()
    running_slots: int = 0
    driver: Mapping[str, Any] | None = None
    expected_units: float | None = None
    """Resource that the whole study is expected to train."""
    queries: Mapping[str, int] | None = None
    """How often the backend was asked what."""


def overview(study: Study, around: Surroundings) -> dict[str, Any]:
    """Return the overview as JSON data."""
    running = [a for a in study.live.values() if a.state is AttemptState.RUNNING]
    now_seconds = sum(a.seconds_until(around.now) * study.gpus_of(a) for a in running)
    return {
        "schema": SCHEMA,
        "study": around.name,
        "dir": around.directory,
        "backend": around.backend,
        "state": state_word(study),
        "reason": study.halt_text,
        "time": around.now,
        "opened": around.opened,
        "driver": dict(around.driver or {}),
        "metric": study.settings.objective.metric,
        "goal": study.settings.objective.goal.value,
        "resource": around.resource,
        "trials": {
            "total": _total_trials(study),
            "at_most": _is_total_a_bound(study),
            "started": len(study.trials),
            "finished": study.final_trials,
            "good": study.results.good_trials,
            "failed": study.failed_trials,
        },
        "rungs": _rungs(study, running),
        "slots": {
            "waiting": sum(group.slots for group in around.waiting),
            "running": around.running_slots,
        },
        "queue": [
            {"reason": group.reason, "jobs": group.slots, "start": group.start}
            for group in around.waiting
        ],
        "gpus_now": sum(study.gpus_of(a) for a in running),
        "gpu_hours": {
            "used": (study.gpu_seconds + now_seconds) / 3600,
            "limit": study.limits.gpu_hours,
            "retried": study.wasted_gpu_seconds / 3600,
        },
        "best": best(study),
        "eta_seconds": _left_seconds(study, around, len(running)),
        "notes": [verdict.note for verdict in study.results.doubts],
        "failures": [_failure(attempt) for attempt in study.recent_failures[-3:]],
        "queries": dict(around.queries or {}),
    }


def _total_trials(study: Study) -> int:
    """Return how many configs the study starts in all, or may start at most.

    How many a population or a race needs nobody knows before its end.
    """
    return len(study.trials) if _has_started_all(study) else study.limits.trials


def _is_total_a_bound(study: Study) -> bool:
    """Tell whether fewer trials than the total may be started, by the scheduler's own choice."""
    is_fixed = not (study.scheduler.copies or study.scheduler.separate_rungs)
    return not is_fixed and not _has_started_all(study)


def _has_started_all(study: Study) -> bool:
    return study.finished == "done" and not study.exhausted


def state_word(study: Study) -> str:
    """Return ``running``, ``done``, ``paused``, ``stopped`` or ``failed`` for people."""
    if study.halt == "paused":
        return "paused"
    if study.halt == "stopped":
        return "stopped"
    if not study.finished:
        return "running"
    return "done" if study.results.good_trials else "failed"


def best(study: Study) -> dict[str, Any] | None:
    """Return the best trial of the highest rung that has a finite result.

    Only results at the same rung are compared; ``next`` holds the few behind it.
    """
    for rung in sorted(study.results.rungs, reverse=True):
        ranking = study.results.rungs[rung].best
        if ranking:
            first, *others = (study.trials[number] for _, number in ranking[:_SHOWN])
            return {
                **_ranked(study, first, rung),
                "rung": rung,
                "resource": study.scheduler.ladder(first.bracket)[rung],
                "top_resource": study.scheduler.ladder(first.bracket)[-1],
                "checkpoint": first.checkpoint,
                "next": [_ranked(study, trial, rung) for trial in others],
                "lower": _better_below(study, rung),
            }
    return None


def _better_below(study: Study, top: int) -> dict[str, Any] | None:
    """Return the best result at a rung below, if it is better than the best at ``top``.

    None where rungs are evaluations of their own: a single one of them says less, not more.
    """
    if study.scheduler.separate_rungs:
        return None
    found = [(*count.best[0], rung) for rung, count in study.results.rungs.items() if count.best]
    # Of equal ones the highest rung.
    loss, number, rung = min(found, key=lambda one: (one[0], -one[2]))
    trial = study.trials[number]
    if rung >= top or loss >= study.results.rungs[top].best[0][0]:
        return None
    return {
        **_ranked(study, trial, rung),
        "rung": rung,
        "resource": study.scheduler.ladder(trial.bracket)[rung],
    }


def _ranked(study: Study, trial: TrialRecord, rung: int) -> dict[str, Any]:
    return {
        "trial": trial_id(trial.number),
        "values": {study.settings.objective.metric: trial.values[rung]},
        "params": dict(trial.config),
    }


def _rungs(study: Study, running: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    ladder = study.scheduler.ladder(0)
    waits = [a for a in study.live.values() if a.state is not AttemptState.RUNNING]
    rows = []
    for rung, level in enumerate(ladder):
        count = study.results.rungs.get(rung, RungCount())
        trial = None if count.best_trial is None else study.trials[count.best_trial]
        rows.append(
            {
                "rung": rung,
                "resource": level,
                "waiting": sum(a.rung == rung for a in waits),
                "running": sum(a.rung == rung for a in running),
                "done": count.done - count.failed,
                "promoted": count.promoted,
                "failed": count.failed,
                "best": None if trial is None else trial.values[rung],
            }
        )
    return rows


def _left_seconds(study: Study, around: Surroundings, running: int) -> float | None:
    """Return a guess of the time left, from the units left and the time that a unit takes."""
    if study.finished or around.expected_units is None or not study.units_done or not running:
        return None
    left = around.expected_units - float(study.units_done)
    if left <= 0:
        return None  # more was promoted than expected: nobody knows
    return left * study.unit_seconds / float(study.units_done) / running


def _failure(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "trial": trial_id(attempt.trial),
        "attempt": attempt.id,
        "outcome": None if attempt.outcome is None else attempt.outcome.value,
        "exit_code": attempt.exit_code,
        "cause": attempt.cause,
        "host": attempt.host,
        "job": attempt.job,
    }
