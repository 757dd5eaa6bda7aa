"""ASHA, the promotion variant: whoever is among the best of a rung so far goes on, nobody waits.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from slurmtune.core.events import Resource
from slurmtune.core.objective import RankingKey
from slurmtune.core.ports import Decision, Promote, Standing, StartTrial
from slurmtune.schedulers.bracket import Bracket, BracketScheduler
from slurmtune.schedulers.ladder import LAST_RUNG, NEVER_FAILED


class AshaBracket(Bracket):
    """Promotes a trial as soon as it is among the best ``1 / reduction_factor`` of its rung.

    Where the paper is silent: the order is strict (loss, then who finished first, then trial), so
    that of n finished trials exactly ``n // reduction_factor`` are promotable even when they are
    equal. A promoted trial keeps its place in the rung. A failed trial, or one without a finite
    result, counts in n and ranks last; when it holds a promotable place, the place stays empty.
    The best of a rung is promoted before the others.
    """

    def __init__(self, rungs: int, reduction_factor: int, first: int = 0) -> None:
        super().__init__(rungs, reduction_factor, first)
        # The best trial that was not promoted stands on top of its rung's heap. When even that one
        # is not promotable, none is: one look per rung is enough.
        self._paused: list[list[RankingKey]] = [[] for _ in range(rungs)]
        self._is_dropped = [False] * rungs
        self._reach = 0
        """The most trials that the bracket was thought to ever hold; 0: nobody said."""
        self._most = [0] * rungs
        """By rung, the most trials that can ever finish it, if `_reach` is known."""
        self._out: list[tuple[int, int]] = []
        """Who was found to be too far back for ever, and where; `spare` tells it next."""

    def finish(self, trial: int, rung: int, loss: float | None) -> bool:
        """A trial finished a rung; False when that was known."""
        is_new = super().finish(trial, rung, loss)
        if is_new:
            if rung < self._last and (key := self._rungs[rung].key(trial))[0] is False:
                heappush(self._paused[rung], key)
            if self._reach:
                self._find_out(self._reach)
        return is_new

    def promote_from(self, rung: int) -> Promote | None:
        """Return the next promotion from ``rung``, if a trial there can go on now."""
        trial = self._next_of(rung)
        if trial is None:
            return None
        heappop(self._paused[rung])
        return self._promote(trial, rung, self._next_rung(rung + 1))

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how the trial stands in the rung as it is now."""
        here = self._finished_at(trial, rung)
        if here is None:
            return None
        place = None if here.loss(trial) is None else here.place(trial)
        if rung == self._last:
            return Standing(rule=LAST_RUNG, size=here.size, place=place, places=0)
        places = self._places(rung)
        return Standing(
            rule=f"the best 1/{self._reduction_factor} of the rung go on",
            size=here.size,
            place=place,
            places=places,
            cutoff=here.cutoff(places),
            outlook=self._outlook(trial, rung, place),
        )

    def spare(self, reach: int) -> list[tuple[int, int]]:
        """Return what became spare since the last call, if ``reach`` trials are the most ever.

        A rung can hold all trials but those that are known to end below it. At its end the best
        ``1 / reduction_factor`` of so many can have been promoted, and nobody behind them.
        """
        if max(reach, self.size) != self._reach:
            self._find_out(reach)
        self._spare += self._out
        self._out.clear()
        return self.take_spare()

    def drop(self, rung: int) -> bool:
        """Send no further trial to ``rung``; who is there already may go on as usual.

        New trials begin, and promoted ones arrive, at the next rung that was not dropped. False
        for the last rung, which decides who is best, and for one that the ladder does not have.
        """
        if not 0 <= rung < self._last:
            return False
        self._is_dropped[rung] = True
        self._first = self._next_rung(self._first)
        return True

    def _find_out(self, reach: int) -> None:
        """Find who can never go on, and with that how many can finish each rung."""
        most = max(reach, self.size)
        if most > self._reach:
            for tail in self._tails:
                tail.restore()
            for trial, rung in self._out:
                self._tails[rung].forget(trial)
            self._out.clear()
        self._reach = most
        for rung in range(self._last):
            self._most[rung] = most
            self._cut(rung, most // self._reduction_factor)
            most -= self._failed[rung] + self._tails[rung].out

    def _cut(self, rung: int, places: int) -> None:
        self._out += [(trial, rung) for trial in self._tails[rung].cut(places)]

    def _next_rung(self, rung: int) -> int:
        """Return this rung, or the next above it that was not dropped."""
        while self._is_dropped[rung]:
            rung += 1
        return rung

    def _next_of(self, rung: int) -> int | None:
        """Return who can go on from ``rung`` now."""
        if rung >= self._last or not self._paused[rung]:
            return None
        trial = self._paused[rung][0][-1]
        return trial if self._rungs[rung].is_within(trial, self._places(rung)) else None

    def _places(self, rung: int) -> int:
        return self._rungs[rung].size // self._reduction_factor

    def _outlook(self, trial: int, rung: int, place: int | None) -> str:
        if place is None:
            return NEVER_FAILED
        if self._targets[trial] > rung:
            return ""
        if place < self._places(rung):
            return "waits for a free slot"
        needed = (place + 1) * self._reduction_factor
        most = self._most[rung]
        if self._reach and needed > most:
            return f"would go on when {needed} have finished the rung, but at most {most} can"
        return f"goes on when {needed} have finished the rung, unless better ones come"


class Asha(BracketScheduler):
    """One bracket of ASHA (`AshaBracket`); promotions from higher rungs go first."""

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        super().__init__(levels, reduction_factor)
        self._bracket = AshaBracket(len(self._levels), reduction_factor)
        self._asked: int | None = None
        """Rung of the `StartTrial` that `decide` returned last."""

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return the promotion from the highest possible rung, else a new trial."""
        self._asked = None
        for rung in range(self._last - 1, -1, -1):
            promotion = self._bracket.promote_from(rung)
            if promotion is not None:
                return promotion
        if not may_start:
            return None
        self._asked = self._bracket.first
        return StartTrial(rung=self._asked)

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it will be trained up to the lowest rung first."""
        self._check_bracket(bracket)
        asked = self._bracket.first if self._asked is None else self._asked
        self._asked = None
        self._settle(trial, self._bracket, asked)

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return who can never go on if ``trials`` are the most, and what was gone on from.

        What was told stands for the limit that it was told under: under a larger one later, such
        a trial may be promoted all the same, and then trains from the start.
        """
        return self._bracket.spare(trials)

    def drop(self, rung: int) -> bool:
        """Send no further trial to ``rung``; False for the last one."""
        return self._bracket.drop(rung)
