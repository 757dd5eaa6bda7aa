"""Low-discrepancy points."""

from __future__ import annotations

import numpy as np
import pytest

from slurmtune.core.events import Config
from slurmtune.core.ports import Sampler
from slurmtune.core.seeding import generator
from slurmtune.samplers.qmc import QmcKind, QmcSampler, discrepancy, points
from slurmtune.space.domain import Fixed, Integer, LogUniform, Uniform
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import FixedHistory, SamplerContract

EMPTY = FixedHistory()
KINDS = [kind.value for kind in QmcKind]


class TestSobol(SamplerContract):
    """Sobol points make a sampler."""

    def make_sampler(self, space: Space) -> Sampler:
        return QmcSampler(space, "sobol", self.trials)


class TestHalton(SamplerContract):
    """Halton points make a sampler."""

    def make_sampler(self, space: Space) -> Sampler:
        return QmcSampler(space, "halton", self.trials)


class TestHammersley(SamplerContract):
    """Hammersley sets make a sampler."""

    def make_sampler(self, space: Space) -> Sampler:
        return QmcSampler(space, "hammersley", self.trials)


class TestLatinHypercube(SamplerContract):
    """Latin hypercubes make a sampler."""

    def make_sampler(self, space: Space) -> Sampler:
        return QmcSampler(space, "lhs", self.trials)


def square(dimension: int = 2) -> Space:
    items = [Hyperparameter(name=f"x{n}", domain=Uniform(0, 1)) for n in range(dimension)]
    return Space(items)


@pytest.mark.parametrize("kind", KINDS)
def test_more_even_than_random_points(kind: str) -> None:
    """Checklist 19: the discrepancy of 64 points is below that of all of 20 random samples."""
    sampler = QmcSampler(square(3), kind, 64)
    ours = discrepancy([sampler.point(n, 0) for n in range(64)])
    chance = [discrepancy(generator(seed, "test").random((64, 3)).tolist()) for seed in range(20)]

    assert ours < min(chance)


@pytest.mark.parametrize("trials", [1, 7, 24])
def test_rooks_cannot_capture_each_other(trials: int) -> None:
    """Checklist 20: on every axis each interval of a Latin hypercube holds one point."""
    sampler = QmcSampler(square(4), "lhs", trials)
    rows = np.array([sampler.point(n, 5) for n in range(trials)])

    cells = np.floor(rows * trials).astype(int)
    assert all(sorted(column) == list(range(trials)) for column in cells.T)


@pytest.mark.parametrize("kind", ["lhs", "hammersley"])
def test_trials_beyond_the_plan_form_another_set(kind: str) -> None:
    """A study that is continued with more trials still gets even points, and new ones."""
    sampler = QmcSampler(square(), kind, 8)
    rows = np.array([sampler.point(n, 5) for n in range(16)])

    assert sorted(np.floor(rows[8:, 0] * 8)) == list(range(8))
    assert not np.array_equal(rows[:8], rows[8:])


@pytest.mark.parametrize("kind", ["sobol", "halton"])
def test_point_does_not_depend_on_how_many_are_computed(kind: str) -> None:
    """Point 3 is the same whether the block was computed for trial 3 or for trial 1000."""
    small, large = QmcSampler(square(), kind, 10), QmcSampler(square(), kind, 10)
    large.point(1000, 1)

    assert small.point(3, 1) == large.point(3, 1)
    assert small.point(1000, 1) == large.point(1000, 1)


def test_sobol_points_are_balanced() -> None:
    """Of the first 16 points one falls into each of 16 equal intervals of an axis."""
    sampler = QmcSampler(square(5), "sobol", 16)
    rows = np.array([sampler.point(n, 3) for n in range(16)])

    cells = np.floor(rows * 16).astype(int)
    assert all(sorted(column) == list(range(16)) for column in cells.T)


def test_points_go_through_the_distribution() -> None:
    """Half of a Latin hypercube falls into each half of the orders of magnitude."""
    space = Space([Hyperparameter(name="lr", domain=LogUniform(1e-4, 1e-2))])
    sampler = QmcSampler(space, "lhs", 10)
    values = [(sampler.propose(n, EMPTY, 0) or {})["lr"] for n in range(10)]

    assert sum(float(value) < 1e-3 for value in values) == 5


def test_broken_constraint_is_replaced_for_that_trial_only() -> None:
    """The other trials keep their points."""
    free = square()
    bound = Space(free.hyperparameters, {"rule": Expression("x0 + x1 <= 1")})
    plain, kept = QmcSampler(free, "sobol", 32), QmcSampler(bound, "sobol", 32)
    for trial in range(32):
        wanted, config = plain.propose(trial, EMPTY, 0), kept.propose(trial, EMPTY, 0)

        assert wanted is not None
        assert config is not None
        assert bound.accepts(config)
        assert (config == wanted) == bound.accepts(wanted)


def test_repeated_config_of_a_finite_space_is_replaced() -> None:
    sampler = QmcSampler(Space([Hyperparameter(name="a", domain=Integer(1, 9))]), "halton", 9)
    configs: list[Config] = []
    for trial in range(9):
        configs.append(sampler.propose(trial, FixedHistory(configs), 0) or {})

    assert {config["a"] for config in configs} == set(range(1, 10))
    assert sampler.propose(9, FixedHistory(configs), 0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_space_without_searched_names_has_one_config(kind: str) -> None:
    space = Space([Hyperparameter(name="a", domain=Fixed(1))])
    sampler = QmcSampler(space, kind, 4)

    assert sampler.propose(0, EMPTY, 0) == {"a": 1}
    assert sampler.propose(1, FixedHistory([{"a": 1}]), 0) is None


def test_hammersley_in_one_dimension_is_even() -> None:
    rows = points(QmcKind.HAMMERSLEY, 8, 1, generator(0, "test"))

    assert sorted(np.floor(rows[:, 0] * 8)) == list(range(8))


def test_no_trials_are_no_plan() -> None:
    with pytest.raises(ValueError, match="trials must be above 0, not 0"):
        QmcSampler(square(), "sobol", 0)
