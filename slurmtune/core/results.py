"""What came out of a study so far: results by rung, the best of them, rungs that say nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from operator import itemgetter

from slurmtune.core.collection import best_count
from slurmtune.core.events import Resource
from slurmtune.core.guard import Leg, RungGuard
from slurmtune.core.history import History
from slurmtune.core.objective import Objective
from slurmtune.core.ports import Observation, Scheduler
from slurmtune.core.record import TrialRecord
from slurmtune.core.verdict import Verdict, VerdictKind

_BEST = 5
"""How many of the best trials of a rung are kept at hand."""
_ROUNDING = 1e-9
"""A resource that a program adds up of parts may be off by so much: 0.1 + 0.2 is not 0.3."""


@dataclass(slots=True)
class RungCount:
    """Figures of one rung."""

    done: int = 0
    promoted: int = 0
    failed: int = 0
    stopped: int = 0
    """Trials that were stopped on their way to the rung, without a result at it."""
    best: list[tuple[float, int]] = field(default_factory=list)
    """Loss and trial of the best few, best first; among equals who finished first."""

    @property
    def best_loss(self) -> float | None:
        """The lowest loss; None while there is none."""
        return self.best[0][0] if self.best else None

    @property
    def best_trial(self) -> int | None:
        """The trial with the lowest loss."""
        return self.best[0][1] if self.best else None

    def note(self, loss: float, trial: int, most: int = _BEST) -> None:
        """A trial finished the rung with this finite loss; the best ``most`` are remembered."""
        if len(self.best) < most or loss < self.best[-1][0]:
            self.best = sorted([*self.best, (loss, trial)], key=itemgetter(0))[:most]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A rung at whose resource no report came, as the first trial showed for which that held."""

    rung: int
    level: Resource
    """The resource of the rung."""
    resource: Resource
    """Where the report came that counts: the first above ``level``, else the last below."""


class Results:
    """Grows with every rung that a trial finishes."""

    def __init__(self, objective: Objective, scheduler: Scheduler) -> None:
        self.history = History()
        self.rungs: dict[int, RungCount] = {}
        """Figures by rung, kept up to date so that nobody has to count trials."""
        self.good_trials = 0
        """Trials that finished at least one rung with a finite loss."""
        self.ended_trials = 0
        """Trials that finished a rung, failed, or were stopped before they could."""
        self.sound_trials = 0
        """Those of them that have a finite result, at a rung or on the way, and did not fail."""
        self.strays: dict[int, Stray] = {}
        """By rung; none where each rung is an evaluation of its own."""
        self.best_loss: float | None = None
        self.since_best = 0
        """Trials that finished their first rung since the best loss got better."""
        self.doubts: list[Verdict] = []
        """Rungs whose results are not worth what they cost."""
        self._objective = objective
        self._scheduler = scheduler
        self._guard = RungGuard()

    def rung(self, number: int) -> RungCount:
        """Return the figures of a rung."""
        return self.rungs.setdefault(number, RungCount())

    def loss_of(self, trial: TrialRecord, rung: int) -> float | None:
        """Return the loss of a trial at a rung; None when it is not known or not finite."""
        return self._objective.loss(trial.values.get(rung))

    def note(
        self,
        trial: TrialRecord,
        rung: int,
        value: float | None,
        keep: str,
        resource: Resource | None = None,
    ) -> None:
        """A trial finished a rung.

        Args:
            trial: The trial.
            rung: The rung.
            value: What counts there; None if the trial failed.
            keep: ``[checkpoint] keep``.
            resource: Where the value was reported; None: nowhere.
        """
        if self._scheduler.separate_rungs:
            value = self._mean(trial, rung, value)
        trial.finished_rung = rung
        trial.values[rung] = value
        loss = self._objective.loss(value)
        count = self.rung(rung)
        # A program that ends before the stop reaches it has a result at a rung that its trial was
        # not admitted to: a value that may be the best, but no part of the rung.
        count.done += trial.stopped_rung is None or rung <= trial.stopped_rung
        if loss is not None:
            count.note(loss, trial.number, max(_BEST, best_count(keep)))
        first = len(trial.values) == 1
        self.good_trials += first and loss is not None
        self.ended_trials += first
        if loss is not None and not trial.has_result:
            trial.has_result = True
            self.sound_trials += 1
        self.since_best += first
        if loss is not None and (self.best_loss is None or loss < self.best_loss):
            self.best_loss, self.since_best = loss, 0
        level = self._scheduler.ladder(trial.bracket)[rung]
        if loss is not None:
            self._note_stray(trial, rung, level, resource)
        self.history.add_observation(
            Observation(trial=trial.number, rung=rung, resource=level, loss=loss)
        )

    def note_failure(self, trial: TrialRecord, rung: int) -> None:
        """A trial failed for good on its way to this rung; what it had before counts no more."""
        self.rung(rung).failed += 1
        self.sound_trials -= trial.has_result
        trial.has_result = False

    def note_stop(self, trial: TrialRecord, rung: int) -> None:
        """A trial was stopped for good on its way to this rung, or when it had just passed it."""
        if rung not in trial.values:
            self.rung(rung).stopped += 1
        self.ended_trials += not trial.values
        attempt = trial.last_attempt
        reported = None if attempt is None else self._objective.loss(attempt.value)
        if reported is not None and not trial.has_result:
            trial.has_result = True
            self.sound_trials += 1

    def remember(self, most: int) -> None:
        """Have the best ``most`` trials of each rung at hand, also of results from before."""
        for count in self.rungs.values():
            count.best = []
        for seen in self.history.observations:
            if seen.loss is not None:
                self.rung(seen.rung).note(seen.loss, seen.trial, max(_BEST, most))

    def best_trials(self, most: int) -> frozenset[int]:
        """Return the ``most`` best trials: the scheduler's leaders, then by rung and loss."""
        leaders = self._scheduler.leaders()
        found = dict.fromkeys(() if leaders is None else leaders.trials[:most])
        for rung in sorted(self.rungs, reverse=True):
            for _, number in self.rungs[rung].best:
                if len(found) == most:
                    return frozenset(found)
                found[number] = None
        return frozenset(found)

    def doubt(
        self, trial: TrialRecord, rung: int, seconds: float, *, guard: bool
    ) -> list[Verdict]:
        """Return what this result, after so many seconds of training, tells of the rungs.

        Args:
            trial: The trial that finished the rung.
            rung: The rung.
            seconds: From nothing up to the rung. Where trials run through their rungs they mean
                nothing: they are of attempts that ended.
            guard: Whether rungs that are not worth what they cost are left out from now on.
        """
        if self._scheduler.separate_rungs or self._scheduler.copies:
            return []
        passes = self._scheduler.runs_through
        self._guard.note(
            trial.number,
            rung,
            self.loss_of(trial, rung),
            math.nan if passes else seconds,
            control=self._scheduler.is_control(trial.number),
            leg=None if passes else _leg(trial, rung),
        )
        found = []
        for finding in self._guard.findings():
            drops = guard and self._scheduler.drop(finding.rung)
            if drops:
                self._guard.drop(finding.rung)
            kind = VerdictKind.RUNG_DROPPED if drops else VerdictKind.RUNG_DOUBTED
            found.append(Verdict(kind=kind, rung=finding.rung, note=str(finding)))
        self.doubts += found
        return found

    def _note_stray(
        self, trial: TrialRecord, rung: int, level: Resource | None, resource: Resource | None
    ) -> None:
        if level is None or resource is None or self._scheduler.separate_rungs:
            return
        if math.isclose(resource, level, rel_tol=_ROUNDING):
            return
        trial.other_resources[rung] = resource
        if rung not in self.strays:
            self.strays[rung] = Stray(rung=rung, level=level, resource=resource)

    def _mean(self, trial: TrialRecord, rung: int, value: float | None) -> float | None:
        """Return the mean over the rungs up to this one; None if the trial failed at one."""
        if value is None or self._objective.loss(value) is None:
            return None
        count = len(trial.values)
        before = trial.values.get(rung - 1) if count else 0.0
        return None if before is None else before + (value - before) / (count + 1)


def _leg(trial: TrialRecord, rung: int) -> Leg | None:
    """Return how the trial came to this rung; None: nothing was reported on the way."""
    attempts = [attempt for attempt in trial.attempts if attempt.rung == rung]
    if not attempts or attempts[-1].resource is None:
        return None
    first = attempts[0]
    return Leg(
        units=attempts[-1].resource - first.start,
        seconds=sum(attempt.seconds for attempt in attempts),
        starts=sum(not (one.holder and one.holder == one.slot) for one in attempts),
        resumed=first.start > 0,
    )
