"""The median stopping rule: a trial that does worse than completed ones did at its age is stopped.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from slurmtune.core.events import Resource
from slurmtune.core.objective import ranking_key
from slurmtune.core.ports import Decision, Standing, StartTrial
from slurmtune.core.resource import exact, explicit_levels
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.ladder import check_bracket
from slurmtune.schedulers.rung import Rung

_MEDIAN = "the median of the running averages at resource"
_MOST_KEPT = 4096
"""Resources whose averages are kept in order; for others they are put in order when asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """What a running trial was compared with when it last reported."""

    resource: Resource
    loss: float | None
    """What it reported there."""
    best: float | None
    """The best that it had reported by then."""
    median: float
    count: int
    """Averages that the median was taken of."""
    better: int
    """Averages that are better than the trial's best."""
    completed: int
    """Trials that had completed by then."""


@dataclass(slots=True)
class _Running:
    """A trial that was started and has not finished."""

    reports: dict[Resource, float | None] = field(default_factory=dict)
    best: float | None = None


_UNITS = 1074
"""Every finite float is a whole multiple of 2 to the power of minus this."""


def _exact(loss: float) -> int:
    """Return the loss in units of ``2 ** -_UNITS``.

    Sums of floats are rounded: three losses of 0.1 would have a mean above 0.1, and a trial that
    is exactly as good would seem better, or worse; and sums of huge ones would be infinite.
    """
    numerator, denominator = loss.as_integer_ratio()
    return (numerator << _UNITS) // denominator


def _rounded(total: int, count: int) -> float:
    """Return the mean of ``count`` losses with this sum of `_exact`, rounded once."""
    return total / (count << _UNITS)


def _middle(low: float, high: float) -> float:
    return low if low == high else _rounded(_exact(low) + _exact(high), 2)


class _Curve:
    """Running average of a completed trial: a step function of the resource."""

    def __init__(self, reports: dict[Resource, float | None]) -> None:
        self._resources = array("d")
        self._averages = array("d")
        total = 0
        for resource in sorted(reports):
            loss = reports[resource]
            if loss is not None:
                total += _exact(loss)
                self._resources.append(resource)
                self._averages.append(_rounded(total, len(self._resources)))

    def at(self, resource: Resource) -> float | None:
        """Return the mean of what was reported up to ``resource``; None if that is nothing."""
        count = bisect_right(self._resources, resource)
        return self._averages[count - 1] if count else None


class _Completed:
    """The running averages of all completed trials, in order at every resource.

    For a resource that is asked for repeatedly, as when all trials report at the same ones, the
    order is kept up: a question then costs nothing, and a completed trial O(log n) for each. A
    resource that is asked for once costs O(n log n), with nothing kept.
    """

    def __init__(self) -> None:
        self._trials: list[int] = []
        self._curves: list[_Curve] = []
        self._kept: dict[Resource, array[float]] = {}
        self._asked: set[Resource] = set()

    def __len__(self) -> int:
        return len(self._curves)

    def add(self, trial: int, curve: _Curve) -> None:
        """A trial completed."""
        self._trials.append(trial)
        self._curves.append(curve)
        for resource, averages in self._kept.items():
            average = curve.at(resource)
            if average is not None:
                insort(averages, average)

    def averages(self, resource: Resource) -> Sequence[float]:
        """Return the average of each trial that has one at ``resource``, the best first."""
        kept = self._kept.get(resource)
        if kept is not None:
            return kept
        found = (curve.at(resource) for curve in self._curves)
        averages = array("d", sorted(average for average in found if average is not None))
        if resource not in self._asked:
            self._asked.add(resource)
        elif len(self._kept) < _MOST_KEPT:
            self._kept[resource] = averages
        return averages

    def first(self, count: int, resource: Resource) -> Iterator[tuple[int, float]]:
        """Yield the averages at ``resource`` of the first ``count`` trials that completed."""
        for trial, curve in zip(self._trials[:count], self._curves, strict=False):
            average = curve.at(resource)
            if average is not None:
                yield trial, average


class MedianRule(BaseScheduler):
    """Stops a trial whose best loss so far is worse than the median of the running averages.

    The median is taken over the trials that completed: that reached ``level`` with a finite loss
    and were not told to stop. Of each counts the mean of its reports up to the resource at which
    the running trial reports. There is no verdict below ``grace``, nor while fewer than
    ``min_trials`` completed trials have such a mean.

    Where the paper is silent: equal to the median is not worse; the median of an even number is
    the mean of the middle two. A report without a finite loss is none in the means and is never
    the best; a trial that has no finite loss yet is worse than any median. The first of two
    reports at one resource counts.

    Args:
        level: Resource of the whole training.
        grace: Resource from which on trials may be stopped.
        min_trials: Completed trials that are needed for a median.

    Raises:
        ValueError: ``grace`` is not between 0 and ``level``, or ``min_trials`` is below 1.
    """

    def __init__(self, level: Resource, *, grace: Resource, min_trials: int = 5) -> None:
        self._levels = explicit_levels((level,))
        if not 0 <= exact(grace) <= exact(level):
            raise ValueError(f"grace must be between 0 and {level!r}, not {grace!r}")
        if min_trials < 1:
            raise ValueError(f"min_trials must be at least 1, not {min_trials!r}")
        self._grace = grace
        self._min_trials = min_trials
        self._running: dict[int, _Running] = {}
        self._comparisons: dict[int, _Comparison] = {}
        self._told: set[int] = set()
        """Trials that were told to stop."""
        self._rung = Rung()
        self._completed = _Completed()
        self._spare: list[tuple[int, int]] = []

    @property
    def runs_through(self) -> bool:
        """True: an attempt runs to the end of the training unless it is stopped."""
        return True

    @property
    def watches(self) -> bool:
        """True: a trial may have to stop at any report."""
        return True

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the one level; there is only bracket 0."""
        check_bracket(bracket)
        return self._levels

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a new trial as long as one may be started."""
        return StartTrial() if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it is trained to the end unless it is stopped."""
        check_bracket(bracket)
        if self._is_known(trial):
            raise ValueError(f"trial {trial} was started before")
        self._running[trial] = _Running()

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Tell whether the trial must stop; a trial that was told so is told again."""
        if not self._is_known(trial):
            raise ValueError(f"trial {trial} reported at {resource} but was never started")
        running = self._running.get(trial)
        if trial in self._told or running is None or resource in running.reports:
            return trial in self._told
        if ranking_key(loss, 0, trial)[0]:
            loss = None
        running.reports[resource] = loss
        if loss is not None and (running.best is None or loss < running.best):
            running.best = loss
        comparison = self._compare(loss, running.best, resource)
        if comparison is None:
            return False
        self._comparisons[trial] = comparison
        if comparison.best is None or comparison.best > comparison.median:
            self._told.add(trial)
        return trial in self._told

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Tell whether the trial was told to stop: at its rung the training ends anyway."""
        del rung, loss
        return trial in self._told

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` is over; later calls change nothing."""
        if not self._is_known(trial):
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        if rung != 0:
            raise ValueError(f"trial {trial} finished rung {rung} but there is only rung 0")
        running = self._running.pop(trial, None)
        if running is None:
            return
        self._rung.add(trial, loss)
        self._spare.append((trial, 0))
        if self._rung.loss(trial) is not None and trial not in self._told:
            self._completed.add(trial, _Curve(running.reports))

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return what a trial was compared with last; None while it runs.

        It is counted among the averages, by its best, and is told as ``best`` where that is not
        the loss of the verdict.
        """
        if rung != 0 or (trial not in self._rung and trial not in self._told):
            return None
        seen = self._comparisons.get(trial)
        is_told = trial in self._told
        has_failed = not is_told and self._rung.loss(trial) is None
        if seen is None:
            return Standing(
                rule=f"it was never compared: that begins at resource {self._grace}, with "
                f"{self._min_trials} completed trials",
                size=0,
                place=None if has_failed else 0,
                places=0,
            )
        told = seen.loss if is_told else self._rung.loss(trial)
        return Standing(
            rule=self._rule(seen, is_told=is_told),
            size=0 if has_failed else seen.count + 1,
            place=None if has_failed or seen.best is None else seen.better,
            places=0,
            cutoff=seen.median,
            best=None if has_failed or seen.best == told else seen.best,
            outlook="" if is_told or has_failed else "it was trained to the end",
        )

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the averages that a trial was compared with last, and its own best among them."""
        if rung != 0 or not self._is_known(trial):
            return ()
        seen = self._comparisons.get(trial)
        is_in = trial in self._rung or trial in self._told
        if seen is None:
            return [(trial, self._rung.loss(trial))] if is_in else ()
        rows: list[tuple[int, float | None]] = [
            *self._completed.first(seen.completed, seen.resource)
        ]
        if is_in:
            rows.append((trial, seen.best))
        return sorted(rows, key=lambda row: ranking_key(row[1], 0, row[0]))

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return the trials that are over: nothing is trained on from their end."""
        del trials
        spare, self._spare = self._spare, []
        return spare

    def _rule(self, seen: _Comparison, *, is_told: bool) -> str:
        if seen.best is None:
            return f"without a finite loss it is worse than {_MEDIAN} {seen.resource}"
        is_worse = "is worse than" if is_told else "was not worse than"
        return f"its best by then {is_worse} {_MEDIAN} {seen.resource}"

    def _compare(
        self, loss: float | None, best: float | None, resource: Resource
    ) -> _Comparison | None:
        if resource < self._grace or len(self._completed) < self._min_trials:
            return None
        averages = self._completed.averages(resource)
        count = len(averages)
        if count < self._min_trials:
            return None
        return _Comparison(
            resource=resource,
            loss=loss,
            best=best,
            median=_middle(averages[(count - 1) // 2], averages[count // 2]),
            count=count,
            better=0 if best is None else bisect_left(averages, best),
            completed=len(self._completed),
        )

    def _is_known(self, trial: int) -> bool:
        return trial in self._running or trial in self._rung
