"""The state of a study in one JSON object: what ``status``, ``best`` and the live line show.

Its fields are only ever added (schema ``slurmtune.status/1``). Making it costs no more than the
number of rungs and of live attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slurmtune.core.events import Resource
from slurmtune.core.ids import trial_id
from slurmtune.core.record import AttemptRecord, TrialRecord
from slurmtune.core.results import RungCount, Stray
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState

SCHEMA = "slurmtune.status/1"
_SHOWN_STRAYS = 3
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
    expected_trials: int | None = None
    """Configs that are likely to be started, where the limit is only a bound."""
    parallel: int | None = None
    """Attempts that may run at once."""
    array_limit: int | None = None
    """Tasks of an array that the user lets run at once."""
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
        "limit": study.halt if study.halt not in {"paused", "stopped"} else "",
        "time": around.now,
        "ended": study.ended_time if study.finished else None,
        "opened": around.opened,
        "driver": dict(around.driver or {}),
        "metric": study.settings.objective.metric,
        "goal": study.settings.objective.goal.value,
        "resource": around.resource,
        "trials": {
            "total": total_trials(study),
            "at_most": is_total_a_bound(study),
            "expected": around.expected_trials if is_total_a_bound(study) else None,
            "started": len(study.trials),
            "finished": study.final_trials,
            "ended": study.results.ended_trials,
            "good": study.results.sound_trials,
            "failed": study.failed_trials,
            "without_result": _without_result(study),
            "stopped": study.stopped_trials,
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
        "parallel": around.parallel,
        "array_limit": around.array_limit,
        "gpus_now": sum(study.gpus_of(a) for a in running),
        "gpu_hours": {
            "used": (study.gpu_seconds + now_seconds) / 3600,
            "limit": study.limits.gpu_hours,
            "retried": study.wasted_gpu_seconds / 3600,
        },
        "best": best(study),
        "share": _share(study, around),
        "eta_seconds": _left_seconds(study, around, len(running)),
        "notes": [*_strays(study, around.resource), *(v.note for v in study.results.doubts)],
        "failures": [_failure(attempt) for attempt in study.recent_failures[-3:]],
        "queries": dict(around.queries or {}),
    }


def _without_result(study: Study) -> int:
    """Return how many trials ended with no finite result although no program of theirs failed."""
    return study.results.ended_trials - study.results.sound_trials - study.failed_trials


def _strays(study: Study, word: str) -> list[str]:
    """Return one note on all rungs at whose resource no report comes, if there is one."""
    strays = [study.results.strays[rung] for rung in sorted(study.results.strays)]
    return [stray_words(strays, study.first_reports, word)] if strays else []


def stray_words(strays: Sequence[Stray], reports: Sequence[Resource], word: str) -> str:
    """Return what counts at rungs at whose resource no report comes.

    Args:
        strays: These rungs, lowest first.
        reports: Where the first reports of a trial came.
        word: Name of the resource, such as ``epoch``.
    """
    parts = []
    if reports:
        parts.append(f"reports come at {', '.join(f'{one:.12g}' for one in reports)}")
    for stray in strays[:_SHOWN_STRAYS]:
        is_after = stray.resource > stray.level
        which = "first report at or after it" if is_after else "last report before it"
        level = f"{word} {stray.level:.12g}".lstrip()
        parts.append(f"a rung at {level} is judged by the {which}, at {stray.resource:.12g}")
    if len(strays) > _SHOWN_STRAYS:
        parts.append("and so on")
    return "; ".join(parts)


def total_trials(study: Study) -> int:
    """Return how many configs the study starts in all, or may start at most.

    How many a population or a race needs nobody knows before its end.
    """
    return len(study.trials) if _has_started_all(study) else study.limits.trials


def is_total_a_bound(study: Study) -> bool:
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

    Only results at the same rung are compared; ``next`` holds the few behind it. A scheduler with
    `Leaders` tells rung and order itself, and ``rule`` says by what.
    """
    leaders = study.scheduler.leaders()
    if leaders is not None:
        results, rung = study.results, leaders.rung
        known = [study.trials[number] for number in leaders.trials]
        known = [trial for trial in known if results.loss_of(trial, rung) is not None]
        if known:
            return _best_of(study, rung, known[:_SHOWN], leaders.rule)
    for rung in sorted(study.results.rungs, reverse=True):
        ranking = study.results.rungs[rung].best
        if ranking:
            return _best_of(study, rung, [study.trials[number] for _, number in ranking[:_SHOWN]])
    return None


def _best_of(
    study: Study, rung: int, ranking: Sequence[TrialRecord], rule: str = ""
) -> dict[str, Any]:
    first, *others = ranking
    return {
        **_ranked(study, first, rung),
        "rung": rung,
        "resource": _resource_of(study, first, rung),
        "level": study.scheduler.ladder(first.bracket)[rung],
        "top_resource": study.scheduler.ladder(first.bracket)[-1],
        "checkpoint": first.checkpoint,
        "next": [_ranked(study, trial, rung) for trial in others],
        "lower": None if rule else _better_below(study, rung),
        "rule": rule,
    }


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
        "resource": _resource_of(study, trial, rung),
    }


def _resource_of(study: Study, trial: TrialRecord, rung: int) -> Resource | None:
    """Return at which resource the value of a finished rung was reported."""
    return trial.other_resources.get(rung, study.scheduler.ladder(trial.bracket)[rung])


def _ranked(study: Study, trial: TrialRecord, rung: int) -> dict[str, Any]:
    return {
        "trial": trial_id(trial.number),
        "values": {study.settings.objective.metric: trial.values[rung]},
        "params": dict(trial.config),
    }


def _rungs(study: Study, running: Sequence[AttemptRecord]) -> list[dict[str, Any]]:
    ladder = study.scheduler.ladder(0)
    trials = study.trials
    runs = [study.rung_of(trials[attempt.trial]) for attempt in running]
    waits = [
        study.rung_of(trials[attempt.trial])
        for attempt in study.live.values()
        if attempt.state is not AttemptState.RUNNING
    ]
    rows = []
    for rung, level in enumerate(ladder):
        count = study.results.rungs.get(rung, RungCount())
        trial = None if count.best_trial is None else study.trials[count.best_trial]
        rows.append(
            {
                "rung": rung,
                "resource": level,
                "waiting": waits.count(rung),
                "running": runs.count(rung),
                "done": count.done - count.failed,
                "promoted": count.promoted,
                "failed": count.failed,
                "stopped": count.stopped,
                "best": None if trial is None else trial.values[rung],
            }
        )
    return rows


def _share(study: Study, around: Surroundings) -> float:
    """Return how much of the study is over, from 0 to 1; a guess.

    Most trials end at their first rung, so they tell best; where their number is only a bound,
    what was trained tells.
    """
    if study.finished == "done":
        return 1.0
    if is_total_a_bound(study) and around.expected_units:
        return min(1.0, float(study.units_done) / around.expected_units)
    total = total_trials(study)
    return min(1.0, study.results.ended_trials / total) if total else 0.0


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
