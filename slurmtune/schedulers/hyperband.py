"""Hyperband: brackets of successive halving, from the most aggressive to plain full training.

Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018,
Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, StartTrial
from slurmtune.core.resource import bracket_table, leading_brackets
from slurmtune.schedulers.bracket import BracketScheduler
from slurmtune.schedulers.successive_halving import HalvingBracket


class Hyperband(BracketScheduler):
    """Repeats the brackets of the table, or its first ``brackets``, until no trial may be started.

    Bracket n has the layout ``n % len(table)``; the layout b begins at rung b. Brackets know
    nothing of each other. The next one takes trials as soon as all of those before have started
    theirs and none of them has a promotion to make: slots never wait for a stage to complete.

    A bracket that lacks trials when `decide` is told ``may_start=False``, while none of those that
    it has is on its way through the first stage, is closed and goes on with these. So the study
    must not say so while the config of a new trial is being drawn.
    """

    def __init__(
        self, levels: Sequence[Resource], reduction_factor: int, brackets: int | None = None
    ) -> None:
        super().__init__(levels, reduction_factor)
        self._plans = leading_brackets(bracket_table(levels, reduction_factor), brackets)
        self._newest: HalvingBracket | None = None
        self._count = 0
        """Brackets that were begun."""
        self._active: list[HalvingBracket] = []
        """Brackets in which something is left to do, in their order."""
        self._telling: list[HalvingBracket] = []
        """Brackets of which `spare` did not tell all."""

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a promotion in the earliest possible bracket, else a new trial."""
        if self._newest is not None and not may_start:
            self._newest.close()
        self._active = [bracket for bracket in self._active if not bracket.is_over]
        for bracket in self._active:
            promotion = bracket.promote()
            if promotion is not None:
                return promotion
        if not may_start:
            return None
        number = self._filling
        return StartTrial(bracket=number, rung=number % len(self._plans))

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started in ``bracket``, the newest one or the one after it."""
        if bracket != self._filling:
            raise ValueError(
                f"trial {trial} was started in bracket {bracket}, "
                f"but bracket {self._filling} takes trials"
            )
        home = self._newest if bracket < self._count else None
        self._settle(trial, home or self._begin(), bracket % len(self._plans))

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return who did not go on, and what was gone on from; the limit changes nothing."""
        del trials
        found = [told for bracket in self._telling for told in bracket.spare()]
        self._telling = [bracket for bracket in self._telling if not bracket.is_over]
        return found

    @property
    def _filling(self) -> int:
        """Number of the bracket that takes the next trial."""
        is_open = self._newest is not None and self._newest.is_open
        return self._count - is_open

    def _begin(self) -> HalvingBracket:
        first = self._count % len(self._plans)
        trials = self._plans[first].trials
        bracket = HalvingBracket(len(self._levels), self._reduction_factor, trials, first)
        self._newest = bracket
        self._count += 1
        self._active.append(bracket)
        self._telling.append(bracket)
        return bracket

    def _check_bracket(self, bracket: int) -> None:
        if bracket < 0:
            raise ValueError(f"brackets count from 0, so there is no bracket {bracket}")
