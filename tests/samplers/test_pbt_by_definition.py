"""How PBT explores, in plain words: each value of the donor, given the random numbers for it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.ports import Asked
from slurmtune.core.seeding import generator
from slurmtune.samplers.pbt import PbtSampler
from slurmtune.samplers.random import RandomSampler
from slurmtune.space.domain import Choice, Domain, Integer, LogUniform, Scalar, Uniform
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import FixedHistory


def some_domain(source: random.Random) -> Domain:
    low = source.randint(-20, 20)
    kinds: list[Domain] = [
        Uniform(low, low + source.randint(1, 30)),
        LogUniform(1e-4, 1.0),
        Integer(low, low + source.randint(1, 30)),
        Choice((16, 32, 64, 128), ordered=True),
        Choice(("sgd", "adam", "lion")),
    ]
    return source.choice(kinds)


def explored(domain: Domain, value: Scalar, *, up: bool) -> Scalar:
    """Return what a value becomes that is not drawn anew."""
    if isinstance(domain, Choice):
        if not domain.ordered:
            return value
        levels = domain.levels
        step = 1 if up else -1
        return levels[min(max(levels.index(value) + step, 0), len(levels) - 1)]
    low, high = domain.decode(0.0), domain.decode(1.0)
    number, bottom, top = float(value), float(low), float(high)
    product = min(max(number * (1.2 if up else 0.8), bottom), top)
    if not isinstance(domain, Integer):
        return product
    if round(product) == value:  # rounding alone must not keep it where it is
        away = up != (number < 0)
        return int(min(max(number + (1 if away else -1), bottom), top))
    return round(product)


@settings(max_examples=150, deadline=None)
@given(source=st.randoms(use_true_random=True), seed=st.integers(0, 999))
def test_each_value_is_drawn_anew_or_goes_one_step_within_its_domain(
    source: random.Random, seed: int
) -> None:
    """Some donors stand at a bound, and stay there if they would leave the domain."""
    domains = {f"x{n}": some_domain(source) for n in range(source.randint(1, 5))}
    space = Space([Hyperparameter(name=name, domain=one) for name, one in domains.items()])
    donor = space.decode([source.choice((0.0, 1.0, source.random())) for _ in domains])
    history = FixedHistory([donor], (), [Asked(), Asked(rung=1, parents=(0,))])
    heir = PbtSampler(space, RandomSampler(space)).propose(1, history, seed)
    assert heir is not None

    fates, ways, point = generator(seed, "pbt", 1).random((3, len(domains))).tolist()
    for (name, domain), fate, way, at in zip(domains.items(), fates, ways, point, strict=True):
        if fate < 0.25:
            assert heir[name] == domain.decode(at)
        elif isinstance(expected := explored(domain, donor[name], up=way < 0.5), float):
            assert abs(float(heir[name]) - expected) <= 1e-8  # values have so many digits
        else:
            assert heir[name] == expected
