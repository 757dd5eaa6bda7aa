"""Grid search."""

from __future__ import annotations

import pytest

from slurmtune.core.ports import Sampler
from slurmtune.samplers.grid import GridSampler
from slurmtune.space.domain import Choice, Integer, LogUniform, geomspace
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import FixedHistory, SamplerContract

EMPTY = FixedHistory()


class TestGridSampler(SamplerContract):
    """Grid search is a sampler."""

    needs_finite_space = True
    depends_on_seed = False

    def make_sampler(self, space: Space) -> Sampler:
        return GridSampler(space)


def solver_space() -> Space:
    return Space(
        [
            Hyperparameter(name="h", domain=geomspace(1e-3, 1e-1, 5)),
            Hyperparameter(name="scheme", domain=Choice(("euler", "rk4"))),
        ]
    )


def test_last_name_changes_fastest() -> None:
    """Checklist 17: the order of the combinations."""
    sampler = GridSampler(solver_space())

    assert [sampler.propose(n, EMPTY, 0) for n in range(3)] == [
        {"h": 0.001, "scheme": "euler"},
        {"h": 0.001, "scheme": "rk4"},
        {"h": 0.0031622776601684, "scheme": "euler"},
    ]


def test_cap_visits_the_first_combinations_only() -> None:
    """Checklist 17: a cap of 3 gives the first 3 of 10 combinations."""
    sampler = GridSampler(solver_space(), cap=3)

    assert sampler.propose(2, EMPTY, 0) is not None
    assert sampler.propose(3, EMPTY, 0) is None


def test_ends_after_the_last_combination() -> None:
    sampler = GridSampler(solver_space())

    assert sampler.propose(9, EMPTY, 0) == {"h": 0.1, "scheme": "rk4"}
    assert sampler.propose(10, EMPTY, 0) is None


def test_continuous_name_is_told_at_once() -> None:
    space = Space([Hyperparameter(name="lr", domain=LogUniform(1e-5, 1e-1))])

    with pytest.raises(ValueError, match="cannot enumerate the continuous 'lr'"):
        GridSampler(space)


def test_huge_grid_is_visited_lazily() -> None:
    space = Space([Hyperparameter(name=f"x{n}", domain=Integer(1, 1000)) for n in range(10)])

    assert GridSampler(space).propose(0, EMPTY, 0) == {f"x{n}": 1 for n in range(10)}


def test_answer_can_be_changed_without_effect() -> None:
    sampler = GridSampler(solver_space())
    config = sampler.propose(0, EMPTY, 0)
    assert isinstance(config, dict)
    config["h"] = 5

    assert sampler.propose(0, EMPTY, 0) == {"h": 0.001, "scheme": "euler"}
