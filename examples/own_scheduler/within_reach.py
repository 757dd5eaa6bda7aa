"""A scheduler of one's own: whoever is nearly as good as the best of a rung goes on.

Ours promote the best third, however close the others are. This one promotes every trial whose loss
is within `slack` of the best so far, as soon as `least` trials have finished the rung: many go on
while they are alike, few once one is clearly ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.ports import Decision, Promote, Standing, StartTrial
from slurmtune.schedulers.base import BaseScheduler


class WithinReach(BaseScheduler):
    """Made with the rungs and eta of [fidelity], and with what stands in [search] options.

    The study calls `started` once for each trial, `finished` for each rung that a trial finished,
    and `decide` whenever something may run. No clock, no files, no random numbers: a study is
    restored by repeating these calls.
    """

    def __init__(
        self,
        levels: Sequence[float],
        reduction_factor: int,
        slack: float = 0.05,
        least: int = 4,
    ) -> None:
        del reduction_factor  # How many go on depends on their results alone.
        if slack < 0:
            raise ValueError(f"slack must be at least 0, not {slack}")
        self._levels = tuple(levels)
        self._slack = slack
        self._least = least
        # By rung, losses in the order in which they came; None for a failed trial.
        self._losses: list[dict[int, float | None]] = [{} for _ in levels]
        self._target: dict[int, int] = {}

    def ladder(self, bracket: int) -> Sequence[float]:
        del bracket
        return self._levels

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a promotion, from the highest rung first, else a new trial."""
        for rung in reversed(range(len(self._levels) - 1)):
            for trial, loss in self._order(rung):
                if self._target[trial] == rung and self._is_within_reach(rung, loss):
                    self._target[trial] = rung + 1
                    return Promote(trial=trial, rung=rung + 1)
        return StartTrial() if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        del bracket
        self._target[trial] = 0

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        self._losses[rung].setdefault(trial, loss)

    # What follows only explains: `slurmtune explain STUDY TRIAL` tells it.

    def standing(self, trial: int, rung: int) -> Standing | None:
        if not 0 <= rung < len(self._levels) or trial not in self._losses[rung]:
            return None
        order = self._order(rung)
        good = [other for other, loss in order if self._is_within_reach(rung, loss)]
        loss = self._losses[rung][trial]
        is_last = rung == len(self._levels) - 1
        return Standing(
            rule=f"whoever is within {self._slack:g} of the best goes on",
            size=len(order),
            place=None if loss is None else [other for other, _ in order].index(trial),
            places=0 if is_last else len(good),
            cutoff=self._cutoff(rung),
        )

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        del trial
        return self._order(rung) if 0 <= rung < len(self._levels) else ()

    def _order(self, rung: int) -> list[tuple[int, float | None]]:
        """Return trials and losses, best first, among equals who finished first."""
        return sorted(
            self._losses[rung].items(), key=lambda item: (item[1] is None, item[1] or 0.0)
        )

    def _cutoff(self, rung: int) -> float | None:
        """Return the loss that must be reached; None as long as nobody can go on."""
        losses = [loss for loss in self._losses[rung].values() if loss is not None]
        if len(self._losses[rung]) < self._least or not losses:
            return None
        return min(losses) + self._slack

    def _is_within_reach(self, rung: int, loss: float | None) -> bool:
        cutoff = self._cutoff(rung)
        return loss is not None and cutoff is not None and loss <= cutoff
