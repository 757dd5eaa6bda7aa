"""Tree-structured Parzen estimator for several budgets: the model of BOHB.

Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML
2018, section 3.2 and algorithm 2; after Bergstra et al., NIPS 2011. One multivariate kernel
density describes the good configs, another the bad ones; of candidates drawn around the good ones
the one with the largest ratio of the two is proposed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slurmtune.core.events import Config, Resource
from slurmtune.core.ports import HistoryView, Observation, Sampler
from slurmtune.core.resource import exact
from slurmtune.core.seeding import generator
from slurmtune.samplers.proposed import Proposed
from slurmtune.space.domain import Choice, Domain, Scalar
from slurmtune.space.space import Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

_SPARE_POINTS = 2
"""A budget has a model when it has this many observations more than one of its sides needs."""
_REFERENCE = 1.06
"""Factor of the normal-reference rule for bandwidths (Silverman 1986)."""


@dataclass(frozen=True, slots=True)
class Split:
    """How many observations of a budget are good, best first, and how many of the rest are bad."""

    good: int
    bad: int


def split(observations: int, dimension: int, good: float) -> Split | None:
    """Return the split of so many observations; None when they are too few for a model.

    Each side has at least ``dimension + 1``, so in small samples some are on both (equation 3).
    """
    least = dimension + 1
    if observations < least + _SPARE_POINTS:
        return None
    best = max(least, math.floor(exact(good) * observations))
    return Split(good=best, bad=max(least, observations - best))


class TpeSampler:
    """Proposes what looks most like the good configs and least like the bad ones.

    The model is that of the largest resource that has one. Failed trials are worse than all
    others and never count as good. A share ``random`` of the trials, and those before the first
    model, come from another sampler; so does a trial for which no candidate is new and keeps the
    constraints. Hyperparameters that an observed config does not have are filled in from others
    of its side, drawn by lot; levels of a scale count as numbers, categories as categories.
    """

    name = "tpe"

    def __init__(
        self,
        space: Space,
        then: Sampler,
        *,
        good: float = 0.15,
        random: float = 1 / 3,
        candidates: int = 64,
        bandwidth_factor: float = 3.0,
        min_bandwidth: float = 1e-3,
    ) -> None:
        """Store the settings.

        Args:
            space: What is searched.
            then: Proposes what the model does not.
            good: Share of the observations that is called good.
            random: Share of the trials that come from ``then`` although there is a model.
            candidates: Configs that are drawn for one trial.
            bandwidth_factor: How much wider than the good density they are drawn.
            min_bandwidth: Least width of a kernel, as a share of the domain.

        Raises:
            ValueError: a setting is out of range.
        """
        for name, share in (("good", good), ("random", random)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {share}")
        for name, number in (
            ("candidates", candidates),
            ("bandwidth_factor", bandwidth_factor),
            ("min_bandwidth", min_bandwidth),
        ):
            if not number > 0:
                raise ValueError(f"{name} must be above 0, not {number}")
        self._space = space
        self._then = then
        self._good = good
        self._random = random
        self._candidates = candidates
        self._bandwidth_factor = bandwidth_factor
        self._min_bandwidth = min_bandwidth
        self._proposed = Proposed(space)
        self._axes = tuple(axis_of(space[name].domain) for name in space.searched)
        self._observed = _Observed(space, self._axes)

    def origin(self, trial: int) -> str:
        """Return the sampler's name: every trial comes from it."""
        del trial
        return self.name

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return the best candidate of the model, or what ``then`` proposes."""
        random = generator(seed, self.name, trial)
        config = None
        if self._axes and random.random() >= self._random:
            config = self._from_model(history, random)
        return self._then.propose(trial, history, seed) if config is None else config

    def _from_model(self, history: HistoryView, random: np.random.Generator) -> Config | None:
        import numpy as np

        sides = self._sides(history)
        if sides is None:
            return None
        good, bad = (self._density(rows, random) for rows in sides)
        drawn = good.draw(self._candidates, self._bandwidth_factor, random)
        gain = good.log_density(drawn) - bad.log_density(drawn)
        seen = self._proposed.keys(history)
        for index in np.argsort(-gain, kind="stable"):
            config = self._config(drawn[index])
            if self._space.keeps_constraints(config) and self._space.key(config) not in seen:
                return config
        return None

    def _sides(self, history: HistoryView) -> tuple[Numbers, Numbers] | None:
        """Return the positions of the good and of the bad configs, at the budget of the model."""
        import numpy as np

        self._observed.update(history)
        budgets = self._observed.budgets
        for resource in sorted(budgets, key=lambda r: -math.inf if r is None else r, reverse=True):
            trials, losses = budgets[resource]
            halves = split(len(trials), len(self._axes), self._good)
            succeeded = sum(map(math.isfinite, losses))
            if halves is None or succeeded <= len(self._axes):
                continue
            order = np.argsort(np.array(losses), kind="stable")
            rows = self._observed.rows(trials)[order]
            good = min(halves.good, succeeded)
            return rows[:good], rows[min(good, len(rows) - halves.bad) :]
        return None

    def _density(self, rows: Numbers, random: np.random.Generator) -> Density:
        return Density(self._axes, _filled(rows, self._axes, random), self._min_bandwidth)

    def _config(self, point: Numbers) -> Config:
        coordinates = [
            axis.coordinate(at) for axis, at in zip(self._axes, point.tolist(), strict=True)
        ]
        return self._space.decode(coordinates)


@dataclass(frozen=True, slots=True)
class Axis:
    """One searched hyperparameter: a position in [0, 1], or the number of a category."""

    domain: Domain
    categories: int
    """0: numbers."""

    def position(self, value: Scalar) -> float:
        """Return where ``value`` stands."""
        if not isinstance(self.domain, Choice):
            return self.domain.encode(value)
        index = self.domain.index(value)
        return float(index) if self.categories else (index + 0.5) / self.domain.size

    def coordinate(self, at: float) -> float:
        """Return the coordinate, as `Space.decode` takes it, of a position."""
        if not isinstance(self.domain, Choice):
            return at
        index = int(at) if self.categories else min(int(at * self.domain.size), self._last)
        return self.domain.encode(self.domain.levels[index])

    @property
    def _last(self) -> int:
        return (self.domain.size or 1) - 1


def axis_of(domain: Domain) -> Axis:
    """Return how a domain is modelled: categories, or numbers for all that has an order."""
    is_category = isinstance(domain, Choice) and not domain.ordered
    return Axis(domain, (domain.size or 0) if is_category else 0)


@dataclass(slots=True)
class _Observed:
    """Positions and results of a history, kept up to date as it grows.

    A history that goes on from the one before costs its new entries; any other is read anew.
    """

    space: Space
    axes: Sequence[Axis]
    budgets: dict[Resource | None, tuple[list[int], list[float]]] = field(default_factory=dict)
    """Trials and losses by resource, in the order in which they came; failed: infinite."""
    _configs: list[Config] = field(default_factory=list)
    _observations: list[Observation] = field(default_factory=list)
    _rows: Numbers | None = None
    """A row of positions for each trial, NaN where it has no value; longer than needed."""
    _known: int = 0

    def update(self, history: HistoryView) -> None:
        """Take up what is new."""
        configs, observations = list(history.configs), list(history.observations)
        if configs[: len(self._configs)] != self._configs:
            self._known = 0
        self._configs = configs
        known = len(self._observations)
        # Compares object by object, and values only where these are not identical.
        if observations[:known] != self._observations:
            known = 0
            self.budgets = {}
        self._observations = observations
        for observation in observations[known:]:
            trials, losses = self.budgets.setdefault(observation.resource, ([], []))
            trials.append(observation.trial)
            losses.append(math.inf if observation.loss is None else observation.loss)

    def rows(self, trials: Sequence[int]) -> Numbers:
        """Return the positions of these trials, one per row."""
        import numpy as np

        count = len(self._configs)
        if self._rows is None or len(self._rows) < count:
            grown = np.full((max(64, 2 * count), len(self.axes)), np.nan)
            if self._rows is not None:
                grown[: self._known] = self._rows[: self._known]
            self._rows = grown
        for trial in range(self._known, count):
            self._rows[trial] = self._position(self._configs[trial])
        self._known = count
        return self._rows[np.array(trials, dtype=np.intp)]

    def _position(self, config: Config) -> list[float]:
        return [
            axis.position(config[name]) if name in config else math.nan
            for name, axis in zip(self.space.searched, self.axes, strict=True)
        ]


class Density:
    """A product of kernels around each row: Gaussian for numbers, Aitchison-Aitken's for others.

    Aitchison and Aitken (Biometrika 1976): the own category has 1 - bandwidth, each other one an
    equal part of the bandwidth.
    """

    def __init__(self, axes: Sequence[Axis], rows: Numbers, min_bandwidth: float) -> None:
        import numpy as np

        self._categories = np.array([axis.categories for axis in axes])
        self._rows = rows
        scale = _REFERENCE * len(rows) ** (-1 / (4 + len(axes)))
        spread = np.array([_spread(rows[:, i], axis.categories) for i, axis in enumerate(axes)])
        self._bandwidths = self._capped(np.maximum(scale * spread, min_bandwidth))

    def log_density(self, points: Numbers) -> Numbers:
        """Return the logarithm of the density at each point, but for a constant of the kernels."""
        import numpy as np

        logs = np.zeros((len(points), len(self._rows)))
        for axis, width in enumerate(self._bandwidths):
            here, there = points[:, axis, None], self._rows[None, :, axis]
            if categories := self._categories[axis]:
                with np.errstate(divide="ignore"):  # A single category has no others.
                    same, other = np.log1p(-width), np.log(width / max(1, categories - 1))
                logs += np.where(here == there, same, other)
            else:
                # Not by a matrix product: its rounding depends on the machine.
                distance = (here - there) / width
                logs -= 0.5 * distance * distance
        top = logs.max(axis=1)
        np.exp(logs - top[:, None], out=logs)
        constant = np.log(self._bandwidths[self._categories == 0]).sum()
        return np.asarray(top + np.log(logs.mean(axis=1)) - constant)

    def draw(self, count: int, factor: float, random: np.random.Generator) -> Numbers:
        """Return points around rows drawn by lot, with bandwidths ``factor`` times as wide.

        Those of categories too, as the paper has it: the released BOHB widens only those of
        numbers, and hardly ever leaves a category in which the first good configs happened to be.
        """
        import numpy as np
        from scipy.special import ndtr, ndtri

        points = self._rows[random.integers(len(self._rows), size=count)]
        # As many random numbers for every axis, whatever it is.
        lots, others = random.random(points.shape), random.random(points.shape)
        widths = self._capped(factor * self._bandwidths)
        for axis, categories in enumerate(self._categories):
            at, width, lot = points[:, axis], widths[axis], lots[:, axis]
            if categories:
                # The others, counted on from the own one.
                step = 1 + np.floor(others[:, axis] * (categories - 1))
                points[:, axis] = np.where(lot < width, (at + step) % categories, at)
            else:
                low, high = ndtr(-at / width), ndtr((1 - at) / width)
                drawn = at + width * ndtri(low + lot * (high - low))
                points[:, axis] = np.clip(drawn, 0, 1)
        return points

    def _capped(self, widths: Numbers) -> Numbers:
        """Keep the bandwidths of categories below that which makes all of them alike."""
        import numpy as np

        count = np.maximum(self._categories, 1)
        return np.where(self._categories == 0, widths, np.minimum(widths, (count - 1) / count))


def _spread(column: Numbers, categories: int) -> float:
    """Return the standard deviation; for categories, what two categories 0 and 1 would have."""
    import numpy as np

    if not categories:
        return float(column.std())
    shares = np.bincount(column.astype(np.intp), minlength=categories) / len(column)
    return math.sqrt(max(0.0, 1 - float((shares**2).sum())) / 2)


def _filled(rows: Numbers, axes: Sequence[Axis], random: np.random.Generator) -> Numbers:
    """Return rows without gaps: each is filled from another row, or from the whole domain."""
    import numpy as np

    missing = np.isnan(rows)
    rows = rows.copy()
    for index in np.flatnonzero(missing.any(axis=0)):
        gaps = missing[:, index]
        count = int(gaps.sum())
        known = rows[~gaps, index]
        if len(known):
            rows[gaps, index] = known[random.integers(len(known), size=count)]
        elif categories := axes[int(index)].categories:
            rows[gaps, index] = random.integers(categories, size=count)
        else:
            rows[gaps, index] = random.random(count)
    return rows
