"""Differential evolution: an offspring's config is made of four others, on the unit cube.

Storn and Price, "Differential Evolution", Journal of Global Optimization 11 (1997), in the form
that DEHB uses (Awad, Mallik and Hutter, IJCAI 2021): rand/1 with binomial crossover.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView, Sampler
from slurmtune.core.seeding import generator
from slurmtune.space.space import Space

if TYPE_CHECKING:
    import numpy as np

_MAX_DRAWS = 100
"""Offspring of the same parents that may break the constraints before a new config is tried."""


class DehbSampler:
    """Crosses a trial's parents (target, a, b, c); asks another sampler where there are none.

    The configs become points of the unit cube (`Space.encode`; a hyperparameter that is not active
    has 0.5 there). The mutant is ``a + mutation * (b - c)``, and what of it lies outside the cube
    is drawn anew (`mutant`). The offspring has some coordinates of the mutant and the rest of the
    target (`crossed`). An offspring that breaks a constraint is made again; after a hundred in a
    row the other sampler is asked. An offspring may repeat an earlier config, as its target may be
    the best there is.
    """

    name = "dehb"

    def __init__(
        self, space: Space, then: Sampler, *, mutation: float = 0.5, crossover: float = 0.5
    ) -> None:
        """Store the plan.

        Args:
            space: Of all configs.
            then: Chooses the configs of trials without parents.
            mutation: Factor F of the difference of two points.
            crossover: Probability CR with which a coordinate comes from the mutant.

        Raises:
            ValueError: a figure is out of its range.
        """
        if not 0 < mutation <= 2:
            raise ValueError(f"mutation must be above 0 and at most 2, not {mutation!r}")
        if not 0 <= crossover <= 1:
            raise ValueError(f"crossover must be from 0 to 1, not {crossover!r}")
        self._space = space
        self._then = then
        self._mutation = mutation
        self._crossover = crossover
        self._asked_then: set[int] = set()
        """Trials whose config was left to the other sampler: a label, nothing depends on it."""

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return an offspring of the parents, or what the other sampler proposes.

        Raises:
            SpecError: the other sampler finds the constraints too tight.
        """
        parents = history.asked[-1].parents
        if parents:
            points = [self._space.encode(history.configs[parent]) for parent in parents]
            # Start points count before ``trial``; the stream is that of the trial's real number.
            random = generator(seed, self.name, len(history.configs))
            config = self._offspring(points, random)
            if config is not None:
                self._asked_then.discard(trial)
                return config
        self._asked_then.add(trial)
        return self._then.propose(trial, history, seed)

    def origin(self, trial: int) -> str:
        """Return the other sampler's word for a trial that was left to it, else ``dehb``."""
        return self._then.origin(trial) if trial in self._asked_then else self.name

    def _offspring(
        self, points: Sequence[Sequence[float]], random: np.random.Generator
    ) -> Config | None:
        target, a, b, c = points
        for _ in range(_MAX_DRAWS):
            changed = mutant(a, b, c, self._mutation, random)
            config = self._space.decode(crossed(target, changed, self._crossover, random))
            if self._space.keeps_constraints(config):
                return config
        return None


def mutant(
    a: Sequence[float],
    b: Sequence[float],
    c: Sequence[float],
    factor: float,
    random: np.random.Generator,
) -> list[float]:
    """Return ``a + factor * (b - c)``; coordinates outside [0, 1] are drawn anew, all alike."""
    drawn = random.random(len(a)).tolist()
    sums = (one + factor * (two - three) for one, two, three in zip(a, b, c, strict=True))
    return [x if 0 <= x <= 1 else u for x, u in zip(sums, drawn, strict=True)]


def crossed(
    target: Sequence[float],
    changed: Sequence[float],
    probability: float,
    random: np.random.Generator,
) -> list[float]:
    """Return ``target`` with each coordinate taken from ``changed`` with this probability.

    One coordinate, drawn by lot, comes from ``changed`` in any case.
    """
    if not target:
        return []
    draws = random.random(len(target)).tolist()
    draws[int(random.integers(len(target)))] = -1.0
    return [
        new if draw < probability or draw < 0 else old
        for old, new, draw in zip(target, changed, draws, strict=True)
    ]
