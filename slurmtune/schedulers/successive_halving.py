"""Synchronous successive halving: a stage is complete before the best of it go on.

Jamieson and Talwalkar, AISTATS 2016; in the form of Li et al., MLSys 2020, Algorithm 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Promote, StartTrial
from slurmtune.core.resource import halving_sizes
from slurmtune.schedulers.ladder import LadderScheduler


class SuccessiveHalving(LadderScheduler):
    """Starts ``trials`` configs; of n, the best ``n // reduction_factor**k`` reach rung k.

    Failed trials, and those without a finite result, are never promoted: when fewer than planned
    are left, only these go on, and the plan of the higher rungs stays.

    A first stage with fewer trials: when `decide` is told ``may_start=False`` while no started
    trial is still on its way to rung 0, no other trial can come any more, and the stage closes
    for good with those that were started. So the study must not say so while the config of a
    new trial is being drawn. n is then the number of started trials, and the best one goes on to
    the last rung even if n is less than ``reduction_factor**(rungs - 1)``.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int, trials: int) -> None:
        super().__init__(levels, reduction_factor)
        needed = self._reduction_factor**self._last
        if trials < needed:
            raise ValueError(
                f"{trials} trials are too few for {len(self._levels)} rungs with reduction_factor "
                f"{reduction_factor}: at least {needed} are needed, or a larger min_resource"
            )
        self._trials = trials
        self._sizes: tuple[int, ...] = ()
        """Planned trials of each stage; empty while trials may still be started."""
        self._stage = 0
        self._members: list[int] = []
        """Trials of the stage that runs."""
        self._going_on: deque[int] = deque()
        """Members of the stage that were not returned by `decide` yet, best first."""

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a trial to start, else the next promotion of a complete stage, else None."""
        if not self._sizes:
            if may_start and len(self._targets) < self._trials:
                return StartTrial()
            self._close_first_stage(may_start=may_start)
        if not self._going_on:
            self._complete_stage()
        if not self._going_on:
            return None
        trial = self._going_on.popleft()
        self._targets[trial] = self._stage
        return Promote(trial=trial, rung=self._stage)

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it belongs to the first stage."""
        if self._sizes:
            raise ValueError(f"trial {trial} was started after the first stage was closed")
        super().started(trial, bracket)
        self._members.append(trial)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        self._check_scheduled(trial, rung)
        if trial not in self._rungs[rung]:
            self._rungs[rung].add(trial, loss)

    def explain(self, trial: int) -> str:
        """Return in words, rung by rung, why the trial was promoted or was not; in losses."""
        target = self._targets.get(trial)
        if target is None:
            return f"Trial {trial} was never started."
        lines = [f"Trial {trial} (a lower loss is better):"]
        lines += [f"  {self._explain_at(trial, rung)}" for rung in range(target + 1)]
        return "\n".join(lines)

    def _close_first_stage(self, *, may_start: bool) -> None:
        count = len(self._targets)
        if count == self._trials or (count and not may_start and self._is_complete()):
            sizes = halving_sizes(count, len(self._levels), self._reduction_factor)
            self._sizes = tuple(max(1, size) for size in sizes)

    def _complete_stage(self) -> None:
        """Go to the next stage when all trials of this one have finished."""
        if not self._sizes or self._stage == self._last or not self._is_complete():
            return
        promoted = self._rungs[self._stage].best(self._sizes[self._stage + 1])
        self._stage += 1
        self._members = promoted
        self._going_on.extend(promoted)

    def _is_complete(self) -> bool:
        # A trial can only finish a rung as its member: counting is enough.
        return self._rungs[self._stage].size == len(self._members)

    def _explain_at(self, trial: int, rung: int) -> str:
        if trial not in self._rungs[rung]:
            return f"rung {rung} (resource {self._levels[rung]}): not finished yet"
        result = self._result(trial, rung)
        if rung == self._last:
            return f"{result}; this is the last rung"
        if rung >= self._stage:
            return f"{result}; {self._waiting(rung)}"
        size = self._sizes[rung + 1]
        if self._rungs[rung].loss(trial) is None:
            return f"{result}; never promoted"
        if self._rungs[rung].place(trial) >= size:
            return f"{result}; not promoted: the best {size} go on"
        if self._targets[trial] == rung:
            return f"{result}; among the best {size}, waits for a free slot"
        return f"{result}; promoted: the best {size} go on"

    def _waiting(self, rung: int) -> str:
        if not self._sizes:
            return "decided when all trials are started and have finished this rung"
        missing = len(self._members) - self._rungs[rung].size
        return f"decided when the {missing} others of this rung have finished"
