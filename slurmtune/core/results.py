"""What came out of a study so far: results by rung, the best of them, rungs that say nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter

from slurmtune.core.collection import best_count
from slurmtune.core.guard import RungGuard
from slurmtune.core.history import History
from slurmtune.core.objective import Objective
from slurmtune.core.ports import Observation, Scheduler
from slurmtune.core.record import TrialRecord
from slurmtune.core.verdict import Verdict, VerdictKind

_BEST = 5
"""How many of the best trials of a rung are kept at hand."""


@dataclass(slots=True)
class RungCount:
    """Figures of one rung."""

    done: int = 0
    promoted: int = 0
    failed: int = 0
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


class Results:
    """Grows with every rung that a trial finishes."""

    def __init__(self, objective: Objective, scheduler: Scheduler) -> None:
        self.history = History()
        self.rungs: dict[int, RungCount] = {}
        """Figures by rung, kept up to date so that nobody has to count trials."""
        self.good_trials = 0
        """Trials that finished at least one rung with a finite loss."""
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

    def note(self, trial: TrialRecord, rung: int, value: float | None, keep: str) -> None:
        """A trial finished a rung with this value; ``keep`` is ``[checkpoint] keep``."""
        if self._scheduler.separate_rungs:
            value = self._mean(trial, rung, value)
        trial.finished_rung = rung
        trial.values[rung] = value
        loss = self._objective.loss(value)
        count = self.rung(rung)
        count.done += 1
        if loss is not None:
            count.note(loss, trial.number, max(_BEST, best_count(keep)))
        first = len(trial.values) == 1
        self.good_trials += first and loss is not None
        self.since_best += first
        if loss is not None and (self.best_loss is None or loss < self.best_loss):
            self.best_loss, self.since_best = loss, 0
        resource = self._scheduler.ladder(trial.bracket)[rung]
        self.history.add_observation(
            Observation(trial=trial.number, rung=rung, resource=resource, loss=loss)
        )

    def remember(self, most: int) -> None:
        """Have the best ``most`` trials of each rung at hand, also of results from before."""
        for count in self.rungs.values():
            count.best = []
        for seen in self.history.observations:
            if seen.loss is not None:
                self.rung(seen.rung).note(seen.loss, seen.trial, max(_BEST, most))

    def best_trials(self, most: int) -> frozenset[int]:
        """Return the ``most`` best trials, those of higher rungs first."""
        found: dict[int, None] = {}
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
            seconds: From nothing up to the rung.
            guard: Whether rungs that are not worth what they cost are left out from now on.
        """
        if self._scheduler.separate_rungs or self._scheduler.copies:
            return []
        self._guard.note(
            trial.number,
            rung,
            self.loss_of(trial, rung),
            seconds,
            control=self._scheduler.is_control(trial.number),
        )
        found = []
        for finding in self._guard.findings():
            drops = guard and self._scheduler.drop(finding.rung)
            kind = VerdictKind.RUNG_DROPPED if drops else VerdictKind.RUNG_DOUBTED
            found.append(Verdict(kind=kind, rung=finding.rung, note=str(finding)))
        self.doubts += found
        return found

    def _mean(self, trial: TrialRecord, rung: int, value: float | None) -> float | None:
        """Return the mean over the rungs up to this one; None if the trial failed at one."""
        if value is None or self._objective.loss(value) is None:
            return None
        count = len(trial.values)
        before = trial.values.get(rung - 1) if count else 0.0
        return None if before is None else before + (value - before) / (count + 1)
