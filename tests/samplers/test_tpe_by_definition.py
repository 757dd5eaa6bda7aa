"""The model of BOHB once more, in plain loops: which results, which sides, which candidate."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.events import Config
from slurmtune.core.ports import Observation
from slurmtune.core.seeding import generator
from slurmtune.samplers.random import RandomSampler
from slurmtune.samplers.tpe import TpeSampler
from slurmtune.space.domain import Choice, Domain, Uniform
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import FixedHistory

STANDARD = statistics.NormalDist()
LETTERS = "abcde"
SCALE = (1, 10, 100, 1000)

Point = list[float]
Result = tuple[Point, float | None]


def sides(
    budgets: Mapping[int, Sequence[Result]], dimension: int, share: float
) -> tuple[list[Point], list[Point]] | None:
    """Return the good and the bad points of the largest budget that has enough of both."""
    least = dimension + 1
    for budget in sorted(budgets, reverse=True):
        results = budgets[budget]
        losses = [loss for _, loss in results if loss is not None]
        if len(results) < least + 2 or len(losses) < least:
            continue
        ranked = [point for _, point in sorted_by_loss(results)]
        good = min(max(least, int(share * len(ranked) + 1e-9)), len(losses))
        bad = max(least, len(ranked) - good)
        return ranked[:good], ranked[len(ranked) - bad :]
    return None


def sorted_by_loss(results: Sequence[Result]) -> list[tuple[float, Point]]:
    """Return results best first, equals in their order of arrival, failures last."""
    keyed = [(math.inf if loss is None else loss, point) for point, loss in results]
    return sorted(keyed, key=lambda one: one[0])


@dataclass(slots=True)
class PlainDensity:
    """A product of kernels around each point."""

    points: Sequence[Point]
    categories: Sequence[int]
    """By axis; 0 for numbers."""
    widths: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose bandwidths by the normal-reference rule, at least 1e-3."""
        scale = 1.06 * len(self.points) ** (-1 / (4 + len(self.categories)))
        for axis, categories in enumerate(self.categories):
            column = [point[axis] for point in self.points]
            width = max(scale * spread(column, categories), 1e-3)
            self.widths.append(capped(width, categories))

    def log(self, at: Point) -> float:
        """Return the logarithm of the density, but for a constant."""
        logs = [
            math.fsum(map(log_kernel, at, point, self.widths, self.categories))
            for point in self.points
        ]
        top = max(logs)
        return top + math.log(math.fsum(math.exp(one - top) for one in logs) / len(logs))

    def draw(self, count: int, factor: float, lots: np.random.Generator) -> list[Point]:
        """Return points around points drawn by lot, with wider kernels."""
        size = (count, len(self.categories))
        picks = lots.integers(len(self.points), size=count).tolist()
        first, second = lots.random(size).tolist(), lots.random(size).tolist()
        return [
            [
                drawn(at, capped(factor * width, categories), categories, u, v)
                for at, width, categories, u, v in zip(
                    self.points[pick], self.widths, self.categories, us, vs, strict=True
                )
            ]
            for pick, us, vs in zip(picks, first, second, strict=True)
        ]


def spread(column: Sequence[float], categories: int) -> float:
    """Return the standard deviation; of categories by how many pairs differ."""
    if not categories:
        return statistics.pstdev(column)
    differing = sum(one != other for one in column for other in column)
    return math.sqrt(differing / len(column) ** 2 / 2)


def capped(width: float, categories: int) -> float:
    """No category is likelier than the own one."""
    return min(width, (categories - 1) / categories) if categories else width


def log_kernel(at: float, point: float, width: float, categories: int) -> float:
    """Return the logarithm of one kernel on one axis."""
    if categories:
        return math.log(1 - width if at == point else width / (categories - 1))
    return -(((at - point) / width) ** 2) / 2 - math.log(width)


def drawn(at: float, width: float, categories: int, u: float, v: float) -> float:
    """Return a draw around one coordinate: a truncated normal one, or often the same category."""
    if categories:
        step = 1 + int(v * (categories - 1))
        return (at + step) % categories if u < width else at
    low, high = STANDARD.cdf(-at / width), STANDARD.cdf((1 - at) / width)
    share = min(max(low + u * (high - low), 1e-300), 1 - 1e-16)
    return min(max(at + width * STANDARD.inv_cdf(share), 0.0), 1.0)


def position(domain: Domain, value: object) -> float:
    if not isinstance(domain, Choice):
        assert isinstance(value, float)
        return value
    if domain.ordered:
        return (SCALE.index(int(str(value))) + 0.5) / len(SCALE)
    return float(LETTERS.index(str(value)))


def value_at(domain: Domain, at: float) -> float | int | str:
    if not isinstance(domain, Choice):
        return at
    if domain.ordered:
        return SCALE[min(int(at * len(SCALE)), len(SCALE) - 1)]
    return LETTERS[int(at)]


def some_domain(source: random.Random) -> Domain:
    kinds: list[Domain] = [
        Uniform(0, 1),
        Choice(SCALE, ordered=True),
        Choice(tuple(LETTERS[: source.randint(2, 5)])),
    ]
    return source.choice(kinds)


def same(one: Config, other: Config) -> bool:
    """Tell whether configs are equal but for rounding."""
    return all(
        abs(value - float(other[name])) < 1e-6
        if isinstance(value, float)
        else value == other[name]
        for name, value in one.items()
    )


@dataclass(slots=True)
class Study:
    """Configs and finished rungs of three budgets, in any order."""

    source: random.Random
    space: Space
    configs: list[Config] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

    def fill(self, count: int, seed: int) -> Study:
        """Let trials finish some of their rungs."""
        lots = generator(seed, "configs")
        self.configs = [self.space.draw(lots) for _ in range(count)]
        if self.source.random() < 0.3:  # some configs come again
            self.configs = self.source.choices(self.configs, k=count)
        failures = self.source.choice((0.0, 0.1, 0.6))
        for trial in range(count):
            for rung, resource in enumerate((1, 3, 9)[: self.source.randint(0, 3)]):
                loss: float | None = self.source.choice(
                    (self.source.random(), self.source.randrange(4))
                )
                loss = None if self.source.random() < failures else loss
                self.observations.append(
                    Observation(trial=trial, rung=rung, resource=resource, loss=loss)
                )
        self.source.shuffle(self.observations)
        return self

    def budgets(self) -> dict[int, list[Result]]:
        """Return points and losses by resource."""
        found: dict[int, list[Result]] = {}
        for one in self.observations:
            config = self.configs[one.trial]
            point = [position(self.space[name].domain, config[name]) for name in config]
            found.setdefault(int(one.resource or 0), []).append((point, one.loss))
        return found


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(source=st.randoms(use_true_random=True), seed=st.integers(0, 999))
def test_the_candidate_with_the_largest_ratio_is_proposed(
    source: random.Random, seed: int
) -> None:
    """Or, with the share of random trials and without a model, what comes from behind."""
    domains = [Uniform(0, 1), *(some_domain(source) for _ in range(source.randint(0, 3)))]
    space = Space([Hyperparameter(name=f"x{n}", domain=one) for n, one in enumerate(domains)])
    study = Study(source, space).fill(source.randint(1, 45), seed)
    trial, good_share = len(study.configs), source.choice((0.15, 0.29, 0.5))
    history = FixedHistory(study.configs, study.observations)
    plain = RandomSampler(space)
    proposed = TpeSampler(space, plain, good=good_share).propose(trial, history, seed)
    assert proposed is not None

    found = sides(study.budgets(), len(domains), good_share)
    lots = generator(seed, "tpe", trial)
    if lots.random() < 1 / 3 or found is None:
        assert proposed == plain.propose(trial, history, seed)
        return
    categories = [
        len(one.levels) if isinstance(one, Choice) and not one.ordered else 0 for one in domains
    ]
    good, bad = (PlainDensity(points, categories) for points in found)
    seen = {space.key(config) for config in study.configs}
    gains: list[tuple[float, Config]] = []
    for point in good.draw(64, 3, lots):
        values = zip(domains, point, strict=True)
        config = {f"x{n}": value_at(domain, at) for n, (domain, at) in enumerate(values)}
        if space.key(config) not in seen:
            gains.append((good.log(point) - bad.log(point), config))
    best = max(gain for gain, _ in gains)

    assert any(gain > best - 1e-6 and same(config, proposed) for gain, config in gains)
