"""Population-based training: how an heir's config is made from its donor's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.events import Config
from slurmtune.core.ports import Asked, HistoryView
from slurmtune.samplers.pbt import PbtSampler, perturbed
from slurmtune.samplers.random import RandomSampler
from slurmtune.samplers.start import StartPointSampler
from slurmtune.space.condition import Condition
from slurmtune.space.domain import (
    Choice,
    Domain,
    Fixed,
    Integer,
    LogInteger,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Scalar,
    Uniform,
    boolean,
    linspace,
)
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import (
    FixedHistory,
    SamplerContract,
    finite_space,
    mixed_space,
)


class TestPbtWithoutParentsContract(SamplerContract):
    def make_sampler(self, space: Space) -> PbtSampler:
        return PbtSampler(space, RandomSampler(space))

    def test_tells_where_configs_come_from(self) -> None:
        """Configs without parents come from the sampler behind, all others from this one."""
        sampler = self.make_sampler(finite_space())
        sampler.propose(0, FixedHistory(), 1)

        assert (sampler.origin(0), sampler.origin(10_000)) == ("random", "pbt")


class TestPbtHeirsContract(SamplerContract):
    """From the fourth trial on, everyone is an heir."""

    never_repeats = False

    def make_sampler(self, space: Space) -> PbtSampler:
        return PbtSampler(space, RandomSampler(space))

    def history(self, space: Space, configs: Sequence[Config]) -> HistoryView:
        count = len(configs)
        asked = [Asked(parents=(n // 2,) if n > 3 else ()) for n in range(count + 1)]
        return FixedHistory(list(configs), super().history(space, configs).observations, asked)


def heir(
    space: Space,
    donor: Mapping[str, Scalar],
    *,
    seed: int = 0,
    resample: float = 0.25,
    earlier: int = 0,
) -> Config:
    history = FixedHistory(
        [donor] * (earlier + 1), (), [Asked()] * (earlier + 1) + [Asked(rung=1, parents=(0,))]
    )
    sampler = PbtSampler(space, RandomSampler(space), resample=resample)
    config = sampler.propose(earlier + 1, history, seed)
    assert config is not None
    return config


def one(domain: Domain, name: str = "x") -> Space:
    return Space([Hyperparameter(name=name, domain=domain)])


@pytest.mark.parametrize(
    ("domain", "value", "down", "up"),
    [
        (Uniform(0, 10), 1.0, 0.8, 1.2),
        (Uniform(0, 10), 9.0, 7.2, 10.0),
        (Uniform(-10, 10), -5.0, -4.0, -6.0),
        (Uniform(-10, 10), 0.0, 0.0, 0.0),
        (LogUniform(1e-5, 1e-1), 1e-5, 1e-5, 1.2e-5),
        (LogUniform(1e-5, 1e-1), 0.09, 0.072, 0.1),
        (Normal(0, 1), 2.0, 1.6, 2.4),
        (Normal(0, 1, clip=(-1, 1)), 1.0, 0.8, 1.0),
        (LogNormal(0, 1), 2.0, 1.6, 2.4),
        (Integer(1, 100), 50, 40, 60),
        (Integer(1, 100), 2, 1, 3),  # 1.6 is rounded to 2, 2.4 too
        (Integer(1, 100), 1, 1, 2),
        (Integer(1, 100), 95, 76, 100),
        (Integer(-9, 9), 0, -1, 1),
        (Integer(-9, 9), -2, -1, -3),
        (LogInteger(1, 1024), 64, 51, 77),
        (QUniform(0.0, 0.4, 0.05), 0.1, 0.05, 0.15),
        (QUniform(2, 10, 5), 2.0, 2.0, 5.0),
        (QUniform(2, 10, 5), 10.0, 5.0, 10.0),
        (QLogUniform(1, 100, 10), 50.0, 40.0, 60.0),
        (QNormal(0, 10, 5), 0.0, -5.0, 5.0),
        (QLogNormal(0, 1, 1), 1.0, 0.0, 2.0),
        (linspace(0, 1, 5), 0.5, 0.25, 0.75),
        (linspace(0, 1, 5), 1.0, 0.75, 1.0),
        (Choice(("small", "medium", "large"), ordered=True), "small", "small", "medium"),
        (Choice(("sgd", "adam")), "sgd", "sgd", "sgd"),
        (Choice((16, 32, 64)), 32, 32, 32),
        (boolean(), True, True, True),
        (Fixed("cifar10"), "cifar10", "cifar10", "cifar10"),
    ],
)
def test_a_value_goes_to_a_neighbour_within_its_domain(
    domain: Domain, value: Scalar, down: Scalar, up: Scalar
) -> None:
    found = [perturbed(domain, value, up=way, factor=1.2) for way in (False, True)]

    assert found == [down, up]
    assert [type(x) for x in found] == [type(value)] * 2


def test_a_number_that_would_overflow_stays() -> None:
    assert perturbed(Normal(0, 1), 1.7e308, up=True, factor=1.2) == 1.7e308


DOMAINS: list[Domain] = [
    Uniform(-3.3, 7.7),
    LogUniform(1e-5, 1e-1),
    Normal(1, 2),
    Normal(1, 2, clip=(0.3, 1.7)),
    LogNormal(0, 1, clip=(0.5, 3)),
    Integer(-5, 17),
    LogInteger(1, 4096),
    QUniform(2, 10, 5),
    QUniform(2.5, 9.1, 0.3),
    QLogUniform(1, 1000, 7),
    QNormal(0, 3, 0.5),
    QLogNormal(0, 1, 0.1),
    linspace(0, 1, 7),
    Choice(("a", "b", "c"), ordered=True),
    Choice(("a", "b", "c"), (0.2, 0.3, 0.5)),
]


@given(
    domain=st.sampled_from(DOMAINS),
    u=st.floats(0, 1),
    ways=st.lists(st.booleans(), max_size=30),
    factor=st.floats(1.01, 1.99),
)
def test_values_never_leave_their_domain(
    domain: Domain, u: float, ways: list[bool], factor: float
) -> None:
    """Also after many generations; in Ray Tune they drift out."""
    value = domain.decode(u)
    for up in ways:
        value = perturbed(domain, value, up=up, factor=factor)
        assert domain.contains(value)


def test_half_of_the_numbers_go_up() -> None:
    values = [heir(one(Uniform(0, 10)), {"x": 1.0}, resample=0, seed=n)["x"] for n in range(400)]

    assert set(values) == {0.8, 1.2}
    assert 160 < values.count(1.2) < 240


def test_a_quarter_is_drawn_anew() -> None:
    values = [heir(one(Uniform(0, 10)), {"x": 1.0}, seed=n)["x"] for n in range(400)]

    assert 70 < sum(value not in {0.8, 1.2} for value in values) < 130


def test_categories_change_only_when_drawn_anew() -> None:
    space = one(Choice(("a", "b", "c")))

    assert {heir(space, {"x": "b"}, resample=0, seed=n)["x"] for n in range(30)} == {"b"}
    assert {heir(space, {"x": "b"}, resample=1, seed=n)["x"] for n in range(30)} == {"a", "b", "c"}


def test_two_heirs_of_one_donor_differ() -> None:
    space = mixed_space()
    donor = space.defaults()

    assert heir(space, donor) != heir(space, donor, earlier=1)


def test_a_hyperparameter_that_becomes_active_is_drawn_and_one_that_ends_is_dropped() -> None:
    space = Space(
        [
            Hyperparameter(name="optimizer", domain=Choice(("sgd", "adam"))),
            Hyperparameter(
                name="momentum",
                domain=Uniform(0, 1),
                when=Condition.parse({"optimizer": "sgd"}),
            ),
        ]
    )
    begun = [heir(space, {"optimizer": "adam"}, resample=1, seed=n) for n in range(30)]
    ended = [
        heir(space, {"optimizer": "sgd", "momentum": 0.5}, resample=1, seed=n) for n in range(30)
    ]

    assert {tuple(config) for config in (*begun, *ended)} == {
        ("optimizer",),
        ("optimizer", "momentum"),
    }
    assert all(space.accepts(config) for config in (*begun, *ended))


def test_constraints_are_kept() -> None:
    space = Space(
        [Hyperparameter(name=name, domain=Uniform(0, 1)) for name in "ab"],
        {"sum": Expression("a + b <= 1")},
    )
    configs = [heir(space, {"a": 0.5, "b": 0.5}, seed=n) for n in range(50)]

    assert all(space.accepts(config) for config in configs)
    assert len({space.key(config) for config in configs}) > 10


def test_the_donors_config_is_kept_when_no_change_keeps_the_constraints() -> None:
    space = Space(
        [Hyperparameter(name="x", domain=Uniform(0, 10))], {"exact": Expression("x == 5")}
    )

    assert heir(space, {"x": 5.0}, resample=0) == {"x": 5.0}


def test_start_points_before_it_change_no_heir() -> None:
    space = mixed_space()
    donor = space.defaults()
    history = FixedHistory([donor] * 2, (), [Asked(), Asked(), Asked(parents=(1,))])
    bare = PbtSampler(space, RandomSampler(space))
    wrapped = StartPointSampler(space, [donor], bare)

    assert wrapped.propose(2, history, 4) == bare.propose(2, history, 4)
    assert wrapped.origin(2) == "pbt"
    assert wrapped.origin(0) == "start"


@pytest.mark.parametrize(
    ("resample", "perturb", "message"),
    [
        (-0.1, 1.2, "resample"),
        (1.1, 1.2, "resample"),
        (0.25, 1.0, "perturb"),
        (0.25, 2.0, "perturb"),
        (0.25, math.nan, "perturb"),
    ],
)
def test_figures_out_of_range_are_refused(resample: float, perturb: float, message: str) -> None:
    space = finite_space()
    with pytest.raises(ValueError, match=message):
        PbtSampler(space, RandomSampler(space), resample=resample, perturb=perturb)
