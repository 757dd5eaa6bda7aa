"""ASHA, the promotion variant: whoever is among the best of a rung so far goes on, nobody waits.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from slurmtune.core.events import Resource
from slurmtune.core.objective import RankingKey
from slurmtune.core.ports import Decision, Promote, StartTrial
from slurmtune.schedulers.ladder import LadderScheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promotion:
    """What the rung looked like when a trial was promoted from it."""

    size: int
    places: int
    place: int
    cutoff: float | None
    """Loss of the last promotable place; None if a failed trial held it."""


class Asha(LadderScheduler):
    """Promotes a trial as soon as it is among the best ``1 / reduction_factor`` of its rung.

    Where the paper is silent: the order is strict (loss, then who finished first, then trial), so
    that of n finished trials exactly ``n // reduction_factor`` are promotable even when they are
    equal. A promoted trial keeps its place in the rung. A failed trial, or one without a finite
    result, counts in n and ranks last; when it holds a promotable place, the place stays empty.
    Promotions from higher rungs go first, and the best of a rung before the others.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        super().__init__(levels, reduction_factor)
        # The best trial that was not promoted stands on top of its rung's heap. When even that one
        # is not promotable, none is: one look per rung is enough.
        self._paused: list[list[RankingKey]] = [[] for _ in self._levels]
        self._promotions: dict[tuple[int, int], _Promotion] = {}

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return the promotion from the highest possible rung, else a new trial."""
        for rung in range(self._last - 1, -1, -1):
            trial = self._promotable(rung)
            if trial is not None:
                self._promote(trial, rung)
                return Promote(trial=trial, rung=rung + 1)
        return StartTrial() if may_start else None

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        self._check_scheduled(trial, rung)
        if trial in self._rungs[rung]:
            return
        key = self._rungs[rung].add(trial, loss)
        if self._rungs[rung].loss(trial) is not None:
            heappush(self._paused[rung], key)

    def explain(self, trial: int) -> str:
        """Return in words, rung by rung, why the trial was promoted or was not; in losses."""
        target = self._targets.get(trial)
        if target is None:
            return f"Trial {trial} was never started."
        lines = [f"Trial {trial} (a lower loss is better):"]
        lines += [f"  {self._explain_at(trial, rung)}" for rung in range(target + 1)]
        return "\n".join(lines)

    def _promotable(self, rung: int) -> int | None:
        paused, here = self._paused[rung], self._rungs[rung]
        if not paused:
            return None
        trial = paused[0][-1]
        return trial if here.place(trial) < self._places(rung) else None

    def _promote(self, trial: int, rung: int) -> None:
        here, places = self._rungs[rung], self._places(rung)
        heappop(self._paused[rung])
        self._targets[trial] = rung + 1
        self._promotions[trial, rung] = _Promotion(
            size=here.size,
            places=places,
            place=here.place(trial),
            cutoff=here.loss_at(places - 1),
        )

    def _places(self, rung: int) -> int:
        return self._rungs[rung].size // self._reduction_factor

    def _explain_at(self, trial: int, rung: int) -> str:
        if trial not in self._rungs[rung]:
            return f"rung {rung} (resource {self._levels[rung]}): not finished yet"
        result = self._result(trial, rung)
        if rung == self._last:
            return f"{result}; this is the last rung"
        promotion = self._promotions.get((trial, rung))
        if promotion is not None:
            cutoff = "" if promotion.cutoff is None else f" (cutoff {promotion.cutoff:.6g})"
            return (
                f"{result}; promoted as place {promotion.place + 1} of {promotion.size} finished, "
                f"when the best {promotion.places} could go on{cutoff}"
            )
        if self._rungs[rung].loss(trial) is None:
            return f"{result}; never promoted"
        return f"{result}; not promoted: {self._why_not(rung, self._rungs[rung].place(trial))}"

    def _why_not(self, rung: int, place: int) -> str:
        size, places = self._rungs[rung].size, self._places(rung)
        if place < places:
            return f"it is among the best {places} that can go on and waits for a free slot"
        needed = (place + 1) * self._reduction_factor
        best = "none can" if places == 0 else f"only the best {places} can"
        return (
            f"with {size} finished and factor {self._reduction_factor} {best} go on; unless "
            f"better ones come, it goes on when {needed} have finished"
        )
