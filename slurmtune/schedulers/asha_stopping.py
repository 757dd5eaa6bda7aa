"""ASHA, the stopping variant: a trial runs on from rung to rung unless it is behind on arrival.

Not in the paper; it came with Ray Tune. It needs no checkpoints, and pays with early arrivals that
run on because they had nobody to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, StartTrial
from slurmtune.schedulers.ladder import LadderScheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """How a trial stood when it reached a rung; what arrives later changes nothing."""

    size: int
    place: int
    places: int
    stopped: bool


class AshaStopping(LadderScheduler):
    """Stops a trial that on reaching a rung is not among its best ``1 / reduction_factor``.

    With n trials at the rung, itself included, it goes on when its place is among the first
    ``max(1, n // reduction_factor)`` in the strict order (loss, then who came first). The decision
    is made once. A trial without a finite result is stopped.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        super().__init__(levels, reduction_factor)
        self._arrivals: dict[tuple[int, int], _Arrival] = {}
        self._ended: set[int] = set()
        """Trials that were stopped or reached the last rung."""

    @property
    def runs_through(self) -> bool:
        """True: an attempt runs up to the last rung unless `stops` ends it."""
        return True

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a new trial as long as one may be started."""
        return StartTrial() if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it is trained up to the last rung unless it is stopped."""
        super().started(trial, bracket)
        self._targets[trial] = self._last

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Tell whether the trial must stop at ``rung``; the first answer for a pair stands.

        At the last rung the answer is False: the training ends there by itself. A stopped trial
        that passes another rung before it leaves does not count there.
        """
        self._check_scheduled(trial, rung)
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
        self._check_scheduled(trial, rung)
        if trial in self._ended:
            return
        self.stops(trial, self._next_rung(trial) if loss is None else rung, loss)

    def explain(self, trial: int) -> str:
        """Return in words, rung by rung, why the trial was stopped or was not; in losses."""
        if trial not in self._targets:
            return f"Trial {trial} was never started."
        lines = [f"Trial {trial} (a lower loss is better):"]
        lines += [
            f"  {self._explain_at(trial, rung)}"
            for rung, here in enumerate(self._rungs)
            if trial in here
        ]
        if trial not in self._ended:
            rung = self._next_rung(trial)
            lines.append(f"  rung {rung} (resource {self._levels[rung]}): not reached yet")
        return "\n".join(lines)

    def _arrive(self, trial: int, rung: int, loss: float | None) -> _Arrival:
        here = self._rungs[rung]
        here.add(trial, loss)
        place = here.place(trial)
        places = max(1, here.size // self._reduction_factor)
        behind = here.loss(trial) is None or place >= places
        if behind or rung == self._last:
            self._ended.add(trial)
        return _Arrival(
            size=here.size, place=place, places=places, stopped=behind and rung < self._last
        )

    def _next_rung(self, trial: int) -> int:
        return next(rung for rung, here in enumerate(self._rungs) if trial not in here)

    def _explain_at(self, trial: int, rung: int) -> str:
        result = self._result(trial, rung)
        if rung == self._last:
            return f"{result}; this is the last rung"
        arrival = self._arrivals[trial, rung]
        verdict = "stopped" if arrival.stopped else "went on"
        return (
            f"{result}; {verdict}: it came as place {arrival.place + 1} of {arrival.size}, "
            f"when the best {arrival.places} went on"
        )
