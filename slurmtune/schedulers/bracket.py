"""Brackets: trials that climb one ladder together and are ranked among themselves only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Promote, Standing
from slurmtune.schedulers.ladder import LadderScheduler
from slurmtune.schedulers.rung import Rung, Tail


class Bracket(ABC):
    """Results of the bracket's trials, rung by rung; subclasses say who goes on and when.

    Rungs have the numbers of the whole ladder, also in a bracket that begins at a higher rung.
    """

    def __init__(self, rungs: int, reduction_factor: int, first: int = 0) -> None:
        self._reduction_factor = reduction_factor
        self._first = first
        self._last = rungs - 1
        self._rungs = [Rung() for _ in range(rungs)]
        self._tails = [Tail(rung) for rung in self._rungs]
        self._failed = [0] * rungs
        self._targets: dict[int, int] = {}
        """The rung that each trial is trained up to."""
        self._spare: list[tuple[int, int]] = []
        """What `spare` tells next."""

    @property
    def size(self) -> int:
        """How many trials were started in the bracket."""
        return len(self._targets)

    @property
    def first(self) -> int:
        """Rung at which new trials begin."""
        return self._first

    def start(self, trial: int, rung: int) -> None:
        """A trial was started; it is trained up to ``rung`` first."""
        self._targets[trial] = rung

    def finish(self, trial: int, rung: int, loss: float | None) -> bool:
        """A trial finished a rung; False when that was known.

        Raises:
            ValueError: the trial was not on its way to this rung.
        """
        here, target = self._rungs[rung] if 0 <= rung <= self._last else None, self._targets[trial]
        if here is not None and trial in here:
            return False
        if here is None or rung != target:
            raise ValueError(
                f"trial {trial} finished rung {rung} but was only scheduled up to rung {target}"
            )
        key = here.add(trial, loss)
        below = self._rung_below(trial, rung)
        if below is not None:
            self._spare.append((trial, below))
        if key[0]:
            self._failed[rung] += 1
            self._spare.append((trial, rung))
        elif rung == self._last:
            self._spare.append((trial, rung))
        else:
            self._tails[rung].add(key)
        return True

    @abstractmethod
    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how the trial stands; see `core.ports.Scheduler`."""

    def compared(self, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return trials and losses at a rung, best first."""
        return self._rungs[rung].results() if 0 <= rung <= self._last else ()

    def take_spare(self) -> list[tuple[int, int]]:
        """Return what became spare since the last call."""
        found, self._spare = self._spare, []
        return found

    def _promote(self, trial: int, rung: int, to: int) -> Promote:
        self._tails[rung].leave(trial)
        self._targets[trial] = to
        return Promote(trial=trial, rung=to)

    def _cut(self, rung: int, places: int) -> None:
        """Tell who can never be among the best ``places`` of a rung."""
        for trial in self._tails[rung].cut(places):
            self._spare.append((trial, rung))

    def _finished_at(self, trial: int, rung: int) -> Rung | None:
        """Return the rung if the trial finished it."""
        if not 0 <= rung <= self._last or trial not in self._rungs[rung]:
            return None
        return self._rungs[rung]

    def _rung_below(self, trial: int, rung: int) -> int | None:
        """Return the highest rung below that the trial finished."""
        return next((k for k in range(rung - 1, -1, -1) if trial in self._rungs[k]), None)


class BracketScheduler(LadderScheduler):
    """A scheduler whose trials live in brackets; subclasses decide what runs next."""

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        super().__init__(levels, reduction_factor)
        self._homes: dict[int, Bracket] = {}
        """The bracket of each trial."""

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        home = self._homes.get(trial)
        if home is None:
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        home.finish(trial, rung, loss)

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how ``trial`` stands among the trials of its bracket at ``rung``."""
        home = self._homes.get(trial)
        return None if home is None else home.standing(trial, rung)

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the results at ``rung`` in the trial's bracket, best first."""
        home = self._homes.get(trial)
        return () if home is None else home.compared(rung)

    def _settle(self, trial: int, home: Bracket, rung: int) -> None:
        """Note that a trial was started in this bracket."""
        if trial in self._homes:
            raise ValueError(f"trial {trial} was started before")
        home.start(trial, rung)
        self._homes[trial] = home
