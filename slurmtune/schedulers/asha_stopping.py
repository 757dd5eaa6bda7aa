"""ASHA, the stopping variant: a trial runs on from rung to rung unless it is behind on arrival.

Not in the paper; it came with Ray Tune. It needs no checkpoints, and pays with early arrivals that
run on because they had nobody to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Standing, StartTrial
from slurmtune.schedulers.ladder import LAST_RUNG, NEVER_FAILED, LadderScheduler
from slurmtune.schedulers.rung import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """How a trial stood when it reached a rung; what arrives later changes nothing."""

    size: int
    place: int | None
    places: int
    cutoff: float | None
    stopped: bool
    everyone: bool
    """Whether the rung was left out by then."""


class AshaStopping(LadderScheduler):
    """Stops a trial that on reaching a rung is not among its best ``1 / reduction_factor``.

    With n trials at the rung, itself included, it goes on when its place is among the first
    ``max(1, n // reduction_factor)`` in the strict order (loss, then who came first). The decision
    is made once. A trial without a finite result is stopped.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        super().__init__(levels, reduction_factor)
        self._rungs = [Rung() for _ in self._levels]
        self._arrivals: dict[tuple[int, int], _Arrival] = {}
        self._next: dict[int, int] = {}
        """The lowest rung that each started trial did not reach."""
        self._ended: set[int] = set()
        """Trials that were stopped or reached the last rung."""
        self._spare: list[tuple[int, int]] = []
        self._dropped: set[int] = set()

    @property
    def runs_through(self) -> bool:
        """True: an attempt runs up to the last rung unless `stops` ends it."""
        return True

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a new trial as long as one may be started; its rung is the first that counts."""
        if not may_start:
            return None
        return StartTrial(rung=next(k for k in range(self._last + 1) if k not in self._dropped))

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it is trained up to the last rung unless it is stopped."""
        self._check_bracket(bracket)
        if trial in self._next:
            raise ValueError(f"trial {trial} was started before")
        self._next[trial] = 0

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Tell whether the trial must stop at ``rung``; the first answer for a pair stands.

        At the last rung the answer is False: the training ends there by itself. A stopped trial
        that passes another rung before it leaves does not count there.
        """
        self._check(trial, rung)
        arrival = self._arrivals.get((trial, rung))
        if arrival is None and trial in self._ended:
            return True
        if arrival is None:
            arrival = self._arrivals[trial, rung] = self._arrive(trial, rung, loss)
        return arrival.stopped

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` ended at ``rung``; later calls with the same pair change nothing.

        A trial that failed on its way counts, ranked last, at the first rung that it did not
        reach, whatever ``rung`` is: there it would have been compared next.
        """
        self._check(trial, rung)
        if trial in self._ended:
            return
        self.stops(trial, self._next[trial] if loss is None else rung, loss)

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how the trial stood on arrival; what came later changes nothing."""
        arrival = self._arrivals.get((trial, rung))
        if arrival is None:
            return None
        is_last = rung == self._last
        rule = f"on arrival the best 1/{self._reduction_factor} of the rung run on, at least one"
        if arrival.everyone:
            rule = "the rung was left out: everyone with a result runs on"
        return Standing(
            rule=LAST_RUNG if is_last else rule,
            size=arrival.size,
            place=arrival.place,
            places=0 if is_last else arrival.places,
            cutoff=None if is_last else arrival.cutoff,
            outlook=_outlook(arrival),
        )

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the results at ``rung`` so far, best first."""
        return self._rungs[rung].results() if trial in self._next and rung <= self._last else ()

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return all rungs of the trials that ended; a running one may have to be repeated."""
        del trials
        found, self._spare = self._spare, []
        return found

    def drop(self, rung: int) -> bool:
        """Compare nobody at ``rung`` any more: only who has no finite result is stopped there.

        False for the last rung, which decides who is best, and for one that is not there.
        """
        if not 0 <= rung < self._last:
            return False
        self._dropped.add(rung)
        return True

    def _check(self, trial: int, rung: int) -> None:
        if trial not in self._next:
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        if not 0 <= rung <= self._last:
            raise ValueError(f"trial {trial} finished rung {rung}, but {self._last} is the last")

    def _arrive(self, trial: int, rung: int, loss: float | None) -> _Arrival:
        here = self._rungs[rung]
        here.add(trial, loss)
        failed = here.loss(trial) is None
        place = here.place(trial)
        everyone = rung in self._dropped
        places = here.size if everyone else max(1, here.size // self._reduction_factor)
        behind = failed or place >= places
        self._next[trial] = max(self._next[trial], rung + 1)
        if behind or rung == self._last:
            self._ended.add(trial)
            self._spare += [(trial, k) for k in range(rung + 1) if trial in self._rungs[k]]
        return _Arrival(
            size=here.size,
            place=None if failed else place,
            places=places,
            cutoff=None if everyone else here.cutoff(places),
            stopped=behind and rung < self._last,
            everyone=everyone,
        )


def _outlook(arrival: _Arrival) -> str:
    if arrival.place is None:
        return NEVER_FAILED
    return "never: it was stopped on arrival" if arrival.stopped else ""
