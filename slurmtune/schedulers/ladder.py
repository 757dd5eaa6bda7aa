"""What all schedulers with one ladder of rungs share: the ladder and who is scheduled how far."""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.resource import check_reduction_factor, explicit_levels
from slurmtune.schedulers.rung import Rung


class LadderScheduler:
    """One bracket with one ladder; subclasses decide who climbs it.

    A scheduler is restored by repeating the calls that it got, never by pickling it.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        self._levels = explicit_levels(levels)
        check_reduction_factor(reduction_factor)
        self._reduction_factor = reduction_factor
        self._rungs = [Rung() for _ in self._levels]
        self._targets: dict[int, int] = {}
        """The rung that each trial is trained up to."""

    @property
    def runs_through(self) -> bool:
        """False: a trial pauses at each rung until it is promoted."""
        return False

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the resource of each rung; there is only bracket 0."""
        check_bracket(bracket)
        return self._levels

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it will be trained up to rung 0."""
        check_bracket(bracket)
        if trial in self._targets:
            raise ValueError(f"trial {trial} was started before")
        self._targets[trial] = 0

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Never asked: a trial pauses at each rung by itself."""
        raise ValueError(
            f"trial {trial} pauses at rung {rung} by itself, whatever its loss ({loss})"
        )

    @property
    def _last(self) -> int:
        return len(self._levels) - 1

    def _check_scheduled(self, trial: int, rung: int) -> None:
        target = self._targets.get(trial)
        if target is None:
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        if not 0 <= rung <= target:
            raise ValueError(
                f"trial {trial} finished rung {rung} but was only scheduled up to rung {target}"
            )

    def _result(self, trial: int, rung: int) -> str:
        """Return words on how ``trial`` stands at a rung that it finished."""
        here = self._rungs[rung]
        loss = here.loss(trial)
        head = f"rung {rung} (resource {self._levels[rung]})"
        if loss is None:
            return f"{head}: failed or without a finite result, so ranked last of {here.size}"
        return f"{head}: loss {loss:.6g}, now place {here.place(trial) + 1} of {here.size}"


def check_bracket(bracket: int) -> None:
    """Let bracket 0 pass.

    Raises:
        ValueError: it is another bracket.
    """
    if bracket != 0:
        raise ValueError(f"there is only bracket 0, not {bracket}")
