"""Synchronous successive halving: a stage is complete before the best of it go on.

Jamieson and Talwalkar, AISTATS 2016; in the form of Li et al., MLSys 2020, Algorithm 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Promote, Standing, StartTrial
from slurmtune.core.resource import halving_sizes
from slurmtune.schedulers.bracket import Bracket, BracketScheduler
from slurmtune.schedulers.ladder import LAST_RUNG, NEVER_FAILED


class HalvingBracket(Bracket):
    """Takes ``trials`` configs; of n, the best ``n // reduction_factor**i`` reach its stage i.

    Failed trials, and those without a finite result, are never promoted: when fewer than planned
    are left, only these go on, and the plan of the higher rungs stays. A first stage that is
    closed with fewer trials counts these as n, and the best one goes on to the last rung even if
    n is less than ``reduction_factor**(stages - 1)``.
    """

    def __init__(self, rungs: int, reduction_factor: int, trials: int, first: int = 0) -> None:
        super().__init__(rungs, reduction_factor, first)
        self._trials = trials
        self._sizes = halving_sizes(trials, rungs - first, reduction_factor)
        """Planned trials of each stage."""
        self._is_closed = False
        self._stage = first
        """Rung of the stage that runs."""
        self._members = 0
        """Trials of the stage that runs."""
        self._going_on: deque[int] = deque()
        """Members of the stage that were not promoted to it yet, best first."""

    @property
    def is_open(self) -> bool:
        """Whether further trials may be started in the bracket."""
        return not self._is_closed

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do in the bracket."""
        return self._stage == self._last and self._is_complete(self._stage)

    def start(self, trial: int, rung: int) -> None:
        """A trial was started; it belongs to the first stage.

        Raises:
            ValueError: the stage is closed.
        """
        if self._is_closed:
            raise ValueError(f"trial {trial} was started after the first stage was closed")
        super().start(trial, rung)
        self._members += 1
        self._is_closed = self._members == self._trials

    def close(self) -> None:
        """No further trial will come: go on with those that were started, once they finished.

        Nothing happens while one of them has not finished the first stage, or none was started.
        """
        if self._is_closed or not self._members or self._rungs[self._first].size < self._members:
            return
        self._is_closed = True
        sizes = halving_sizes(self._members, len(self._sizes), self._reduction_factor)
        self._sizes = tuple(max(1, size) for size in sizes)

    def promote(self) -> Promote | None:
        """Return the next promotion to a stage, the best first; None while there is none."""
        while not self._going_on and (places := self._places(self._stage)):
            self._go_to_next_stage(places)
        if not self._going_on:
            return None
        return self._promote(self._going_on.popleft(), self._stage - 1, self._stage)

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how the trial stands in its stage; nobody may go on before it is complete."""
        here = self._finished_at(trial, rung)
        if here is None:
            return None
        place = None if here.loss(trial) is None else here.place(trial)
        if rung == self._last:
            return Standing(rule=LAST_RUNG, size=here.size, place=place, places=0)
        places = self._places(rung)
        return Standing(
            rule=self._rule(rung),
            size=here.size,
            place=place,
            places=places,
            cutoff=here.cutoff(places),
            outlook=self._outlook(trial, rung, place),
        )

    def spare(self) -> list[tuple[int, int]]:
        """Return what became spare since the last call."""
        for rung in range(self._first, self._last):
            # A first stage that is closed with fewer trials promotes no more than was planned.
            self._cut(rung, self._size(rung + 1))
        return self.take_spare()

    def _go_to_next_stage(self, places: int) -> None:
        promoted = self._rungs[self._stage].best(places)
        self._stage += 1
        self._members = len(promoted)
        self._going_on.extend(promoted)

    def _size(self, rung: int) -> int:
        """Return how many trials are to reach this rung."""
        return self._sizes[rung - self._first]

    def _places(self, rung: int) -> int:
        """Return how many of the rung's best may go on now."""
        if rung == self._last or not self._is_complete(rung):
            return 0
        return self._size(rung + 1)

    def _is_complete(self, rung: int) -> bool:
        # A trial can only finish a rung as a member of its stage: counting is enough.
        if not self._is_closed or rung != self._stage:
            return rung < self._stage
        return self._rungs[rung].size == self._members

    def _rule(self, rung: int) -> str:
        if not self._is_closed and self._size(rung + 1) > 1:
            return f"the best 1/{self._reduction_factor} of the stage go on when it is complete"
        size = self._size(rung + 1)
        who = f"the best {size} of the stage go" if size > 1 else "the best of the stage goes"
        return f"{who} on when it is complete"

    def _outlook(self, trial: int, rung: int, place: int | None) -> str:
        if place is None:
            return NEVER_FAILED
        if self._targets[trial] > rung:
            return ""
        if not self._is_closed:
            return "decided when all trials of the stage have been started and have finished it"
        if not self._is_complete(rung):
            missing = self._members - self._rungs[rung].size
            have = "has" if missing == 1 else "have"
            return f"decided when {missing} more of the stage {have} finished"
        if place < self._places(rung):
            return "waits for a free slot"
        return "never: the stage is complete and better ones went on"


class SuccessiveHalving(BracketScheduler):
    """One bracket of ``trials`` configs (`HalvingBracket`).

    A first stage with fewer trials: when `decide` is told ``may_start=False`` while no started
    trial is still on its way to rung 0, no other trial can come any more, and the stage closes
    for good with those that were started. So the study must not say so while the config of a
    new trial is being drawn.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int, trials: int) -> None:
        super().__init__(levels, reduction_factor)
        needed = self._reduction_factor**self._last
        if trials < needed:
            raise ValueError(
                f"{trials} trials are too few for {len(self._levels)} rungs with reduction_factor "
                f"{reduction_factor}: at least {needed} are needed, or a larger min_resource"
            )
        self._bracket = HalvingBracket(len(self._levels), reduction_factor, trials)

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a trial to start, else the next promotion of a complete stage, else None."""
        if may_start and self._bracket.is_open:
            return StartTrial()
        if not may_start:
            self._bracket.close()
        return self._bracket.promote()

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it belongs to the first stage."""
        self._check_bracket(bracket)
        self._settle(trial, self._bracket, 0)

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return who did not go on, and what was gone on from; the limit changes nothing."""
        del trials
        return self._bracket.spare()
