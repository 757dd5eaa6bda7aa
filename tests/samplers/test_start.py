"""Start points."""

from __future__ import annotations

import pytest

from slurmtune.core.events import Config
from slurmtune.core.ports import Sampler
from slurmtune.errors import SpecError
from slurmtune.samplers.grid import GridSampler
from slurmtune.samplers.random import RandomSampler
from slurmtune.samplers.start import StartPointSampler
from slurmtune.space.condition import Condition
from slurmtune.space.domain import Choice, Integer, Uniform, boolean
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import FixedHistory, SamplerContract, mixed_space

EMPTY = FixedHistory()


class TestStartPointSampler(SamplerContract):
    """Start points before random search make a sampler."""

    def make_sampler(self, space: Space) -> Sampler:
        return StartPointSampler(space, [{"optimizer": "sgd"}], RandomSampler(space))


def test_start_points_come_first() -> None:
    """Checklist 16: what the user wants tried is tried first; missing names are sampled."""
    space = mixed_space()
    points: list[Config] = [{"lr": 0.1, "optimizer": "sgd"}, space.defaults()]
    sampler = StartPointSampler(space, points, RandomSampler(space))

    first, second = (sampler.propose(n, EMPTY, 0) for n in range(2))
    assert first is not None
    assert (first["lr"], first["optimizer"]) == (0.1, "sgd")
    assert space.accepts(first)
    assert second == space.defaults()


def test_origin_tells_start_points_apart() -> None:
    space = mixed_space()
    sampler = StartPointSampler(space, [{"lr": 0.1}], RandomSampler(space))

    assert [sampler.origin(n) for n in range(3)] == ["start", "random", "random"]


def test_sampler_behind_starts_at_its_beginning() -> None:
    """A grid after two start points is visited in full."""
    space = Space([Hyperparameter(name="a", domain=Integer(1, 3))])
    sampler = StartPointSampler(space, [{"a": 3}, {"a": 2}], GridSampler(space))

    assert [sampler.propose(n, EMPTY, 0) for n in range(6)] == [
        {"a": 3}, {"a": 2}, {"a": 1}, {"a": 2}, {"a": 3}, None,
    ]  # fmt: skip


def test_random_search_does_not_repeat_a_start_point() -> None:
    space = Space([Hyperparameter(name="a", domain=Integer(1, 2))])
    sampler = StartPointSampler(space, [{"a": 2}], RandomSampler(space))

    assert sampler.propose(1, FixedHistory([{"a": 2}]), 0) == {"a": 1}


def test_values_take_the_type_of_their_domain() -> None:
    """A learning rate written 1 is the float 1.0."""
    space = Space([Hyperparameter(name="lr", domain=Uniform(0, 1))])
    config = StartPointSampler(space, [{"lr": 1}], RandomSampler(space)).propose(0, EMPTY, 0)

    assert config is not None
    assert isinstance(config["lr"], float)


def test_parent_is_sampled_so_that_the_given_value_matters() -> None:
    """Nesterov was asked for, so the optimizer that is sampled must be sgd."""
    space = Space(
        [
            Hyperparameter(name="optimizer", domain=Choice(("adamw", "lion", "sgd"))),
            Hyperparameter(
                name="nesterov", domain=boolean(), when=Condition.parse({"optimizer": "sgd"})
            ),
        ]
    )
    sampler = StartPointSampler(space, [{"nesterov": True}], RandomSampler(space))

    for seed in range(5):
        assert sampler.propose(0, EMPTY, seed) == {"optimizer": "sgd", "nesterov": True}


def test_completion_avoids_earlier_configs_while_it_can() -> None:
    space = Space([Hyperparameter(name=name, domain=Integer(1, 2)) for name in "ab"])
    sampler = StartPointSampler(space, [{"a": 1}] * 3, RandomSampler(space))
    configs: list[Config] = []
    for trial in range(3):
        configs.append(sampler.propose(trial, FixedHistory(configs), 0) or {})

    assert {config["b"] for config in configs[:2]} == {1, 2}
    assert configs[2]["a"] == 1


def test_impossible_completion_is_told() -> None:
    space = Space(
        [Hyperparameter(name=name, domain=Uniform(0, 1)) for name in "ab"],
        {"rule": Expression("a + b > 2")},
    )
    sampler = StartPointSampler(space, [{"a": 1}], RandomSampler(space))

    with pytest.raises(SpecError, match="start point 1"):
        sampler.propose(0, EMPTY, 0)


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"lrr": 0.1}, "start point 2: 'lrr' is not a hyperparameter"),
        ({"lr": 5}, "start point 2: lr: 5 is outside 1e-05 .. 0.1"),
        (
            {"optimizer": "adamw", "power": 1},
            "start point 2: 'power' has no effect here: it needs",
        ),
        ({"depth": 8, "dropout": 0.5}, "start point 2: breaks the constraint 'rule'"),
    ],
)
def test_wrong_start_point_is_told_by_number(point: Config, words: str) -> None:
    space = mixed_space()

    with pytest.raises(ValueError, match=words):
        StartPointSampler(space, [{}, point], RandomSampler(space))
