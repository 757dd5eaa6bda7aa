"""Differential evolution: mutation, bounds, crossover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.events import Config
from slurmtune.core.ports import Asked, HistoryView
from slurmtune.samplers.dehb import DehbSampler, crossed, mutant
from slurmtune.samplers.random import RandomSampler
from slurmtune.samplers.start import StartPointSampler
from slurmtune.space.domain import Fixed, Uniform
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import (
    FixedHistory,
    SamplerContract,
    finite_space,
    mixed_space,
)


class TestDehbWithoutParentsContract(SamplerContract):
    def make_sampler(self, space: Space) -> DehbSampler:
        return DehbSampler(space, RandomSampler(space))

    def test_tells_where_configs_come_from(self) -> None:
        """Configs without parents come from the sampler behind, all others from this one."""
        sampler = self.make_sampler(finite_space())
        sampler.propose(0, FixedHistory(), 1)

        assert (sampler.origin(0), sampler.origin(10_000)) == ("random", "dehb")


class TestDehbOffspringContract(SamplerContract):
    """From the seventh trial on, everyone is an offspring."""

    never_repeats = False

    def make_sampler(self, space: Space) -> DehbSampler:
        return DehbSampler(space, RandomSampler(space))

    def history(self, space: Space, configs: Sequence[Config]) -> HistoryView:
        count = len(configs)
        asked = [
            Asked(parents=(n - 6, n - 1, n - 3, n - 4) if n > 6 else ()) for n in range(count + 1)
        ]
        return FixedHistory(list(configs), super().history(space, configs).observations, asked)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_mutant_is_a_plus_half_the_difference_of_b_and_c() -> None:
    assert mutant([0.2], [0.8], [0.4], 0.5, random()) == [pytest.approx(0.4)]


def test_what_leaves_the_cube_is_drawn_anew_and_not_clipped() -> None:
    """0.9 + 0.5 * (0.9 - 0.1) is 1.3."""
    drawn = [mutant([0.9], [0.9], [0.1], 0.5, random(seed))[0] for seed in range(2000)]

    assert np.mean(drawn) == pytest.approx(0.5, abs=0.03)
    assert np.quantile(drawn, [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.03)
    assert 1.0 not in drawn


def test_below_zero_is_outside_too() -> None:
    assert 0 < mutant([0.1], [0.1], [0.9], 0.5, random())[0] < 1


def test_each_coordinate_is_looked_at_alone() -> None:
    found = mutant([0.2, 0.9], [0.8, 0.9], [0.4, 0.1], 0.5, random())

    assert found[0] == pytest.approx(0.4)
    assert found[1] != pytest.approx(1.3)


UNIT = st.floats(0, 1)


@given(
    points=st.integers(0, 6).flatmap(
        lambda d: st.lists(st.lists(UNIT, min_size=d, max_size=d), min_size=4, max_size=4)
    ),
    factor=st.floats(0.01, 2),
    probability=UNIT,
    seed=st.integers(0, 1000),
)
def test_an_offspring_lies_in_the_cube_and_has_a_coordinate_of_the_mutant(
    points: list[list[float]], factor: float, probability: float, seed: int
) -> None:
    target, a, b, c = points
    generator = random(seed)
    changed = mutant(a, b, c, factor, generator)
    found = crossed(target, changed, probability, generator)

    assert all(0 <= x <= 1 for x in found)
    assert all(x in pair for x, pair in zip(found, zip(target, changed, strict=True), strict=True))
    assert not found or any(x == y for x, y in zip(found, changed, strict=True))


def test_without_crossover_one_coordinate_comes_from_the_mutant() -> None:
    counts = [sum(crossed([0.0] * 5, [1.0] * 5, 0.0, random(seed))) for seed in range(50)]

    assert set(counts) == {1.0}


def test_with_full_crossover_all_coordinates_come_from_the_mutant() -> None:
    assert crossed([0.0] * 5, [1.0] * 5, 1.0, random()) == [1.0] * 5


def test_half_of_the_other_coordinates_come_from_the_mutant() -> None:
    counts = [sum(crossed([0.0] * 11, [1.0] * 11, 0.5, random(seed))) for seed in range(400)]

    assert np.mean(counts) == pytest.approx(6.0, abs=0.3)


def square(constraints: dict[str, Expression] | None = None) -> Space:
    return Space(
        [Hyperparameter(name=name, domain=Uniform(0, 1)) for name in ("x", "y")], constraints
    )


def offspring(
    space: Space, configs: Sequence[Config], *, seed: int = 0, crossover: float = 1.0
) -> Config:
    history = FixedHistory(configs, (), [Asked()] * len(configs) + [Asked(parents=(0, 1, 2, 3))])
    sampler = DehbSampler(space, RandomSampler(space), crossover=crossover)
    config = sampler.propose(len(configs), history, seed)
    assert config is not None
    return config


PARENTS: list[Config] = [
    {"x": 0.9, "y": 0.95},
    {"x": 0.2, "y": 0.3},
    {"x": 0.8, "y": 0.5},
    {"x": 0.4, "y": 0.1},
]


def test_parents_are_target_a_b_and_c() -> None:
    assert offspring(square(), PARENTS) == {"x": 0.4, "y": 0.5}


def test_the_rest_comes_from_the_target() -> None:
    found = {tuple(offspring(square(), PARENTS, seed=n, crossover=0.0).values()) for n in range(9)}

    assert found == {(0.4, 0.95), (0.9, 0.5)}


def test_constraints_are_kept() -> None:
    space = square({"rule": Expression("x + y >= 1.2")})
    found = [offspring(space, PARENTS, seed=n, crossover=0.5) for n in range(30)]

    assert all(space.accepts(config) for config in found)
    assert {(config["x"], config["y"]) for config in found} == {(0.4, 0.95), (0.9, 0.5)}


def test_a_new_config_is_tried_when_every_offspring_breaks_a_constraint() -> None:
    space = square({"rule": Expression("x > 0.95")})
    history = FixedHistory(PARENTS, (), [Asked()] * 4 + [Asked(parents=(0, 1, 2, 3))])
    sampler = DehbSampler(space, RandomSampler(space))
    config = sampler.propose(4, history, 0)

    assert config is not None
    assert space.accepts(config)
    assert sampler.origin(4) == "random"


def test_a_space_without_search_has_one_config() -> None:
    space = Space([Hyperparameter(name="x", domain=Fixed(1))])

    assert offspring(space, [{"x": 1}] * 4) == {"x": 1}


def test_start_points_before_it_change_no_offspring() -> None:
    space = mixed_space()
    configs = [space.decode([u] * space.dimension) for u in (0.1, 0.3, 0.6, 0.8)]
    history = FixedHistory(configs, (), [Asked()] * 4 + [Asked(parents=(0, 1, 2, 3))])
    bare = DehbSampler(space, RandomSampler(space))
    wrapped = StartPointSampler(space, [space.defaults()], bare)

    assert wrapped.propose(4, history, 4) == bare.propose(4, history, 4)
    assert wrapped.origin(4) == "dehb"


@pytest.mark.parametrize(
    ("mutation", "crossover", "message"),
    [(0.0, 0.5, "mutation"), (2.1, 0.5, "mutation"), (0.5, -0.1, "cross"), (0.5, 1.1, "cross")],
)
def test_figures_out_of_range_are_refused(mutation: float, crossover: float, message: str) -> None:
    space = finite_space()
    with pytest.raises(ValueError, match=message):
        DehbSampler(space, RandomSampler(space), mutation=mutation, crossover=crossover)
