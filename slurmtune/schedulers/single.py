"""Full training of every trial: no rungs to compare at, so nothing is ever promoted or stopped."""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Standing, StartTrial
from slurmtune.core.resource import explicit_levels
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.ladder import check_bracket
from slurmtune.schedulers.rung import Rung


class SingleRung(BaseScheduler):
    """Trains every trial once, up to ``level``, or for as long as its program likes when None."""

    def __init__(self, level: Resource | None = None) -> None:
        self._levels: tuple[Resource | None, ...] = (
            (None,) if level is None else explicit_levels((level,))
        )
        self._started: set[int] = set()
        self._rung = Rung()
        self._spare: list[tuple[int, int]] = []

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the one level; there is only bracket 0."""
        check_bracket(bracket)
        return self._levels

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a new trial as long as one may be started."""
        return StartTrial() if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it will be trained to the end."""
        check_bracket(bracket)
        if trial in self._started:
            raise ValueError(f"trial {trial} was started before")
        self._started.add(trial)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished its training; later calls change nothing."""
        if trial not in self._started:
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        if rung != 0:
            raise ValueError(f"trial {trial} finished rung {rung} but there is only rung 0")
        if trial not in self._rung:
            self._rung.add(trial, loss)
            self._spare.append((trial, 0))

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return the trial's place among those that are done; there is nothing to go on to."""
        if rung != 0 or trial not in self._rung:
            return None
        has_loss = self._rung.loss(trial) is not None
        return Standing(
            rule="every trial is trained to the end",
            size=self._rung.size,
            place=self._rung.place(trial) if has_loss else None,
            places=0,
        )

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the results of all trials that are done, best first."""
        return self._rung.results() if rung == 0 and trial in self._started else ()

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return the trials that are done."""
        del trials
        found, self._spare = self._spare, []
        return found
