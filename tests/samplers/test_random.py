"""Random search."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.events import Config
from slurmtune.core.ports import Sampler
from slurmtune.errors import SpecError
from slurmtune.samplers.random import RandomSampler
from slurmtune.space.domain import Choice, Domain, Integer, Normal, Uniform, boolean, from_range
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import (
    FixedHistory,
    SamplerContract,
    finite_space,
    mixed_space,
)


class TestRandomSampler(SamplerContract):
    """Random search is a sampler."""

    def make_sampler(self, space: Space) -> Sampler:
        return RandomSampler(space)


def space_of(constraints: Mapping[str, str] | None = None, **domains: Domain) -> Space:
    items = [Hyperparameter(name=name, domain=domain) for name, domain in domains.items()]
    return Space(items, {name: Expression(text) for name, text in (constraints or {}).items()})


def proposals(sampler: Sampler, count: int, seed: int = 0) -> list[Config]:
    configs: list[Config] = []
    for trial in range(count):
        config = sampler.propose(trial, FixedHistory(configs), seed)
        if config is None:
            break
        configs.append(config)
    return configs


def test_configs_are_unique_to_the_last_one() -> None:
    """Checklist 18: a space of 60 configs gives 60 different ones, then none."""
    space = space_of(a=Integer(1, 10), b=Choice(("x", "y", "z")), c=boolean())

    configs = proposals(RandomSampler(space), 100)

    assert len(configs) == 60
    assert len({space.key(config) for config in configs}) == 60


@given(seed=st.integers(0, 2**31), count=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_rare_values_are_found_in_the_end(seed: int, count: int) -> None:
    """Uniqueness does not depend on every value being likely."""
    space = space_of(a=Choice(("x", "y"), (1 - 1e-9, 1e-9)), b=Integer(0, count))

    assert len(proposals(RandomSampler(space), 50, seed)) == 2 * count + 2


def test_constraint_on_a_small_space_is_respected_to_the_last_config() -> None:
    space = space_of({"rule": "a + b == 12"}, a=Integer(1, 100), b=Integer(1, 100))

    configs = proposals(RandomSampler(space), 20)

    assert {config["a"] for config in configs} == set(range(1, 12))


def test_constraints_that_refuse_everything_are_named() -> None:
    space = space_of({"tight": "a > 2"}, a=Uniform(0, 1))

    with pytest.raises(SpecError, match=r"\(tight\) refuse every config"):
        RandomSampler(space).propose(0, FixedHistory(), 0)


def test_constraints_that_refuse_all_of_a_finite_space_are_named() -> None:
    space = space_of({"tight": "a > 9"}, a=Integer(1, 9))

    with pytest.raises(SpecError, match="tight"):
        RandomSampler(space).propose(0, FixedHistory(), 0)


def test_endless_repetition_counts_as_exhausted() -> None:
    """A normal distribution clipped far away gives one value only, in an unlimited space."""
    space = space_of(a=Normal(0, 1, clip=(50, 60)))

    assert proposals(RandomSampler(space), 5) == [{"a": 50.0}]


def test_space_without_searched_names_has_one_config() -> None:
    assert proposals(RandomSampler(space_of()), 3) == [{}]


def test_distribution_of_first_values_is_the_domain() -> None:
    """2000 seeds over 4 equal values: each count within 5 sigma of 500 (false alarm 2e-6)."""
    sampler = RandomSampler(space_of(a=from_range(0, 4), b=Uniform(0, 1)))
    drawn = [(sampler.propose(0, FixedHistory(), seed) or {})["a"] for seed in range(2000)]

    sigma = (2000 * 0.25 * 0.75) ** 0.5
    assert all(abs(drawn.count(value) - 500) < 5 * sigma for value in range(4))


@pytest.mark.slow
def test_ten_thousand_proposals_take_under_three_seconds() -> None:
    sampler = RandomSampler(mixed_space())
    start = time.process_time()

    assert len(proposals(sampler, 10_000)) == 10_000
    assert time.process_time() - start < 3.0


@pytest.mark.slow
def test_hash_seed_changes_nothing() -> None:
    """The same configs in three interpreters with different PYTHONHASHSEED."""
    program = (
        "from slurmtune.samplers.random import RandomSampler\n"
        "from slurmtune.testing.sampler_contract import *\n"
        "configs = []\n"
        "for space in (finite_space(), mixed_space()):\n"
        "    for trial in range(8):\n"
        "        configs.append(RandomSampler(space).propose(trial, FixedHistory(), 3))\n"
        "print(configs)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }

    assert len(outputs) == 1
    assert outputs.pop().count("cifar10") == 16


def test_contract_space_has_20_configs() -> None:
    assert len(list(finite_space().grid())) == 20
