"""Low-discrepancy points: they fill the space more evenly than random ones.

Sobol (Joe and Kuo 2008) with Owen's scrambling, Halton with random digit permutations (Owen 2017),
Hammersley (Halton with n/N as its first coordinate) and Latin hypercubes (McKay, Beckman and
Conover 1979: on every axis each of N intervals holds one point, as rooks that cannot capture each
other). The sequences come from ``scipy.stats.qmc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView
from slurmtune.core.seeding import generator
from slurmtune.samplers.proposed import Proposed
from slurmtune.samplers.random import RandomSampler
from slurmtune.space.space import Space

if TYPE_CHECKING:
    import numpy as np

_MIN_BLOCK = 64
"""Points are computed in blocks of powers of two, in which Sobol points are balanced."""


class QmcKind(Enum):
    """The families of points."""

    SOBOL = "sobol"
    HALTON = "halton"
    HAMMERSLEY = "hammersley"
    """A set for the planned number of trials; further trials form another."""
    LHS = "lhs"
    """As many points as trials are planned form one hypercube; further trials form another."""


class QmcSampler:
    """Gives trial ``n`` the n-th point of a scrambled sequence.

    The point depends on seed, ``n`` and ``trials`` only. Where its config breaks a constraint or
    repeats an earlier one (in a finite space), the trial gets a random config instead, so the rest
    of the sequence stays as it is.
    """

    def __init__(self, space: Space, kind: QmcKind | str, trials: int) -> None:
        """Store the plan: ``trials`` is how many configs will be asked for.

        Raises:
            ValueError: there is no such kind, or ``trials`` is below 1.
        """
        if trials < 1:
            raise ValueError(f"trials must be above 0, not {trials}")
        self._kind = QmcKind(kind)
        self.name = self._kind.value
        self._space = space
        self._trials = trials
        self._random = RandomSampler(space)
        self._proposed = Proposed(space)
        self._blocks: dict[tuple[int, int], Sequence[Sequence[float]]] = {}

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return the config of point ``trial``, or None when every config was proposed.

        Raises:
            SpecError: the constraints refuse everything, or nearly everything.
        """
        config = self._space.decode(self.point(trial, seed))
        is_new = self._space.key(config) not in self._proposed.keys(history)
        if is_new and self._space.keeps_constraints(config):
            return config
        return self._random.draw(generator(seed, f"{self.name}-random", trial), history)

    def origin(self, trial: int) -> str:
        """Return the sampler's name: every trial comes from it."""
        del trial
        return self.name

    def point(self, trial: int, seed: int) -> Sequence[float]:
        """Return the point of trial ``trial`` in the unit cube."""
        if self._space.dimension == 0:
            return ()
        if self._kind in {QmcKind.LHS, QmcKind.HAMMERSLEY}:
            block, index, size = *divmod(trial, self._trials), self._trials
        else:
            block, index, size = 0, trial, max(_MIN_BLOCK, 1 << trial.bit_length())
        stored = self._blocks.get((seed, block), ())
        if index >= len(stored):
            random = generator(seed, self.name, block)
            stored = points(self._kind, size, self._space.dimension, random).tolist()
            self._blocks[seed, block] = stored
        return stored[index]


def points(
    kind: QmcKind, count: int, dimension: int, random: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return ``count`` points of the unit cube, one per row.

    For Sobol and Halton, fewer points from an equal generator are the first of these; Sobol wants
    powers of two.
    """
    import numpy as np
    from scipy.stats import qmc

    if kind is QmcKind.SOBOL:
        sequence = qmc.Sobol(dimension, scramble=True, seed=random).random(count)
    elif kind is QmcKind.HALTON:
        sequence = qmc.Halton(dimension, scramble=True, seed=random).random(count)
    elif kind is QmcKind.LHS:
        sequence = qmc.LatinHypercube(dimension, scramble=True, seed=random).random(count)
    else:
        columns = [(np.arange(count)[:, np.newaxis] + random.random()) / count]
        if dimension > 1:
            columns.append(qmc.Halton(dimension - 1, scramble=True, seed=random).random(count))
        # In its own order the set sweeps the first axis; in this one its first points spread too.
        sequence = random.permutation(np.hstack(columns))
    return np.asarray(sequence, dtype=np.float64)


def discrepancy(sample: Sequence[Sequence[float]]) -> float:
    """Return how far points of the unit cube are from even: 0 is best.

    The centred L2 discrepancy (Hickernell 1998): the densest or emptiest boxes at the corners of
    the cube decide. Compare equal numbers of points of equal dimension only.
    """
    from scipy.stats import qmc

    return float(qmc.discrepancy(sample, method="CD"))
