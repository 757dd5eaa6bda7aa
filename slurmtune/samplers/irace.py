"""Sampling around the elites of a race, ever closer: the models of irace.

Lopez-Ibanez et al., Operations Research Perspectives 3 (2016), section 2. Each elite has a model
of its own: a normal distribution around each of its numbers, and a probability for each category.
A config inherits the model of its parent; from iteration to iteration numbers spread less, and
the own category gets likelier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import TYPE_CHECKING

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView, Sampler
from slurmtune.core.seeding import generator
from slurmtune.samplers.proposed import Proposed
from slurmtune.space.domain import Choice, Distribution, Domain, Scalar
from slurmtune.space.space import Space

if TYPE_CHECKING:
    import numpy as np

_MAX_DRAWS = 1_000
"""Draws from one model that may break constraints or repeat earlier configs."""
_SAME = 1e-4
"""Configs closer than this, as a share of every domain, are taken for the same."""
_LEAST_SIGMA = 1e-9
"""Where a scale has a single level."""
_STANDARD = NormalDist()


@dataclass(frozen=True, slots=True)
class Spread:
    """A number of the parent: truncated normal in the unit interval of its domain."""

    sigma: float
    first_sigma: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Categories: the probability of each, in their order."""

    probabilities: tuple[float, ...]


Model = Spread | Shares
"""How one hyperparameter of a parent is varied."""


class IraceSampler:
    """Varies the parent that the scheduler drew; without one, another sampler is asked.

    Numbers are varied on the scale of their domain: logarithmic ones by their logarithm, whole
    ones as the middle of their unit interval, levels of a scale by their position, normal ones by
    their distribution function. A hyperparameter that the parent does not have is drawn from its
    whole domain.

    A new config that equals another of this iteration, or a parent in it, says that the model has
    become too narrow: it is widened for this trial (soft restart), and the trial is drawn again.
    No config is proposed twice; when the model gives nothing new, the other sampler is asked.
    """

    name = "irace"

    def __init__(
        self,
        space: Space,
        then: Sampler,
        *,
        iterations: int,
        newcomers: Callable[[int], int],
        elitist: bool = True,
    ) -> None:
        """Store the plan.

        Args:
            space: What is searched.
            then: Proposes the configs of trials without a parent.
            iterations: How many are planned.
            newcomers: How many new configs each iteration was planned with, by its number from
                0; known for an iteration as soon as one of its trials is asked for. What the
                scheduler of the study decided, so a function of the study's history.
            elitist: Whether no category may become likelier than ``0.2 ** (1 / dimension)``.

        Raises:
            ValueError: fewer than one iteration.
        """
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {iterations}")
        self._space = space
        self._then = then
        self._iterations = iterations
        self._newcomers = newcomers
        self._elitist = elitist
        self._proposed = Proposed(space)

    def origin(self, trial: int) -> str:
        """Return the sampler's name: every trial comes from it."""
        del trial
        return self.name

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return a variation of the parent of what was asked last, or what ``then`` proposes."""
        asked = history.asked[-1]
        if not asked.parents:
            return self._then.propose(trial, history, seed)
        parent = asked.parents[0]
        models = self.models(history, parent, asked.bracket)
        race = _race_of(history, asked.bracket)
        random = generator(seed, self.name, trial)
        config = self._draw(random, history, parent, models, race)
        if config is None or self._is_near(config, race):
            softened = [self._softened(model, asked.bracket) for model in models]
            config = self._draw(random, history, parent, softened, ())
        return self._then.propose(trial, history, seed) if config is None else config

    def models(self, history: HistoryView, parent: int, bracket: int) -> list[Model]:
        """Return the model of each searched hyperparameter of ``parent`` in iteration ``bracket``.

        A soft restart does not last: it widens the models of one trial only.
        """
        models = [_first(self._domain(name)) for name in self._space.searched]
        for iteration, owner in _lineage(history, parent, bracket):
            config = history.configs[owner]
            models = [
                self._narrowed(model, name, config, iteration)
                for model, name in zip(models, self._space.searched, strict=True)
            ]
        return models

    def _narrowed(self, model: Model, name: str, config: Config, iteration: int) -> Model:
        dimension = self._space.dimension
        if isinstance(model, Spread):
            return Spread(
                model.sigma * (1 / self._newcomers(iteration)) ** (1 / dimension),
                model.first_sigma,
            )
        domain = self._domain(name)
        assert isinstance(domain, Choice)
        index = domain.index(config[name]) if name in config else None
        share = iteration / self._iterations
        most = 0.2 ** (1 / dimension) if self._elitist else 1.0
        return Shares(updated(model.probabilities, index, share, most))

    def _softened(self, model: Model, bracket: int) -> Model:
        """Return the wider model of a soft restart."""
        if isinstance(model, Shares):
            top = max(model.probabilities)
            return Shares(_normalised([0.9 * share + 0.1 * top for share in model.probabilities]))
        dimension, count = self._space.dimension, self._newcomers(bracket)
        wider = model.sigma * count ** (2 / dimension)
        widest = model.first_sigma * (1 / count) ** (1 / dimension)
        return Spread(min(wider, widest), model.first_sigma)

    def _draw(
        self,
        random: np.random.Generator,
        history: HistoryView,
        parent: int,
        models: Sequence[Model],
        race: Sequence[Config],
    ) -> Config | None:
        """Return a config of the models that keeps the constraints, or None.

        New, or one of ``race`` once more.
        """
        seen = self._proposed.keys(history)
        racing = {self._space.key(config) for config in race}
        origin = history.configs[parent]
        for _ in range(_MAX_DRAWS):
            point = [
                self._coordinate(name, model, origin, *random.random(2).tolist())
                for name, model in zip(self._space.searched, models, strict=True)
            ]
            config = self._space.decode(point)
            if not self._space.keeps_constraints(config):
                continue
            key = self._space.key(config)
            if key not in seen or key in racing:
                return config
        return None

    def _coordinate(self, name: str, model: Model, origin: Config, u: float, v: float) -> float:
        """Return the coordinate of one hyperparameter, from two uniform numbers."""
        domain = self._domain(name)
        if isinstance(model, Shares):
            assert isinstance(domain, Choice)
            return domain.encode(domain.levels[_category(model.probabilities, u)])
        if name not in origin:
            return v
        at = position(domain, origin[name])
        return from_position(domain, truncated_normal(at, model.sigma, u))

    def _is_near(self, config: Config, race: Sequence[Config]) -> bool:
        point = self._space.encode(config)
        return any(
            config.keys() == other.keys()
            and all(
                abs(one - two) < _SAME
                for one, two in zip(point, self._space.encode(other), strict=True)
            )
            for other in race
        )

    def _domain(self, name: str) -> Domain:
        return self._space[name].domain


def position(domain: Domain, value: Scalar) -> float:
    """Return where ``value`` stands in [0, 1] of its domain's scale; levels are equally far."""
    if isinstance(domain, Choice):
        return (domain.index(value) + 0.5) / domain.size
    return domain.encode(value)


def from_position(domain: Domain, at: float) -> float:
    """Return the coordinate (as `Space.decode` takes it) of a position."""
    if isinstance(domain, Choice):
        return domain.encode(domain.levels[min(int(at * domain.size), domain.size - 1)])
    return at


def truncated_normal(mean: float, sigma: float, u: float) -> float:
    """Return the quantile ``u`` of a normal distribution that is cut off outside [0, 1]."""
    low = _STANDARD.cdf(-mean / sigma)
    high = _STANDARD.cdf((1 - mean) / sigma)
    share = low + u * (high - low)
    # The quantiles of 0 and 1 are infinite: the ends of the interval.
    if not 0 < share < 1:
        return 0.0 if share <= 0 else 1.0
    return min(max(mean + sigma * _STANDARD.inv_cdf(share), 0.0), 1.0)


def updated(
    probabilities: Sequence[float], index: int | None, share: float, most: float
) -> tuple[float, ...]:
    """Return probabilities after one iteration: ``share`` of all goes to the parent's category.

    ``index`` is None when the parent has none; nothing grows beyond ``most`` before the sum is
    made 1 again.
    """
    moved = [probability * (1 - share) for probability in probabilities]
    if index is not None:
        moved[index] += share
    return _normalised([min(probability, most) for probability in _normalised(moved)])


def _normalised(shares: Sequence[float]) -> tuple[float, ...]:
    total = sum(shares)
    return tuple(share / total for share in shares)


def _first(domain: Domain) -> Model:
    """Return the model of the first iteration: half the domain, or the given probabilities."""
    if isinstance(domain, Choice) and not domain.ordered:
        alike = (1 / domain.size,) * domain.size
        return Shares(domain.probabilities or alike)
    sigma = _half_width(domain)
    return Spread(sigma, sigma)


def _half_width(domain: Domain) -> float:
    """Return half the way from the lowest position to the highest one."""
    if isinstance(domain, Choice):
        return max(_LEAST_SIGMA, (domain.size - 1) / (2 * domain.size))
    if isinstance(domain, Distribution) and all(map(math.isfinite, domain.limits)):
        low, high = domain.limits
        return (domain.encode(high) - domain.encode(low)) / 2
    return 0.5


def _category(probabilities: Sequence[float], u: float) -> int:
    """Return the category whose part of [0, 1) holds ``u``."""
    ends = list(accumulate(probabilities))
    return sum(end <= u for end in ends[:-1])


def _lineage(history: HistoryView, parent: int, bracket: int) -> list[tuple[int, int]]:
    """Return (iteration, elite) whose models were narrowed one after the other, first to last.

    An elite keeps its model from iteration to iteration; in the iteration in which it was drawn,
    that was the model of its own parent.
    """
    line: list[tuple[int, int]] = []
    owner = parent
    for iteration in range(bracket, 0, -1):
        born = history.asked[owner]
        if born.bracket >= iteration:
            if not born.parents:
                break
            owner = born.parents[0]
        line.append((iteration, owner))
    return line[::-1]


def _race_of(history: HistoryView, bracket: int) -> list[Config]:
    """Return the configs of this iteration so far, with the parents that were drawn in it."""
    members: dict[int, None] = {}
    for trial, asked in enumerate(history.asked):
        if asked.bracket == bracket:
            members.update(dict.fromkeys(asked.parents))
            if trial < len(history.configs):
                members[trial] = None
    return [history.configs[trial] for trial in members]
