"""Full training of every trial: no rungs to compare at, so nothing is ever promoted or stopped."""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, StartTrial
from slurmtune.core.resource import explicit_levels
from slurmtune.schedulers.ladder import check_bracket
from slurmtune.schedulers.rung import Rung


class SingleRung:
    """Trains every trial once, up to ``level``, or for as long as its program likes when None."""

    def __init__(self, level: Resource | None = None) -> None:
        self._levels: tuple[Resource | None, ...] = (
            (None,) if level is None else explicit_levels((level,))
        )
        self._started: set[int] = set()
        self._rung = Rung()

    @property
    def runs_through(self) -> bool:
        """False: there is only one rung."""
        return False

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

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Never asked: there is only one rung."""
        raise ValueError(
            f"trial {trial} runs to its end, whatever its loss at rung {rung} ({loss})"
        )

    def explain(self, trial: int) -> str:
        """Return in words how the trial stands."""
        if trial not in self._started:
            return f"Trial {trial} was never started."
        if trial not in self._rung:
            return f"Trial {trial} is being trained to the end: there is only one rung."
        loss = self._rung.loss(trial)
        if loss is None:
            return f"Trial {trial} failed or has no finite result."
        place = self._rung.place(trial) + 1
        return f"Trial {trial} is done: loss {loss:.6g}, place {place} of {self._rung.size}."
