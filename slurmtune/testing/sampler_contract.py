"""What every sampler must do: a test class to inherit from.

::

    class TestMySampler(SamplerContract):
        def make_sampler(self, space):
            return MySampler(space)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from slurmtune.core.events import Config
from slurmtune.core.ports import Asked, HistoryView, Observation, Sampler
from slurmtune.space.condition import Condition
from slurmtune.space.domain import (
    Choice,
    Fixed,
    Integer,
    LogUniform,
    QUniform,
    Uniform,
    boolean,
    linspace,
)
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space

_SEED = 7


@dataclass(frozen=True, slots=True)
class FixedHistory:
    """A history that a test wrote down."""

    configs: Sequence[Config] = ()
    observations: Sequence[Observation] = field(default=())
    asked: Sequence[Asked] = ()
    """Left out: a plain new config is asked for, and so were those before."""

    def __post_init__(self) -> None:
        if not self.asked:
            object.__setattr__(self, "asked", (Asked(),) * (len(self.configs) + 1))


def finite_space() -> Space:
    """Return a space of 20 configs: listed values, a condition and a constraint."""
    return Space(
        [
            Hyperparameter(name="optimizer", domain=Choice(("sgd", "adamw")), default="adamw"),
            Hyperparameter(name="layers", domain=Integer(1, 4)),
            Hyperparameter(
                name="nesterov", domain=boolean(), when=Condition.parse({"optimizer": "sgd"})
            ),
            Hyperparameter(name="dropout", domain=linspace(0.0, 0.2, 2)),
            Hyperparameter(name="dataset", domain=Fixed("cifar10")),
        ],
        {"small": Expression("layers < 4 or dropout > 0.1 and optimizer == 'sgd'")},
    )


def mixed_space() -> Space:
    """Return an infinite space with every sort of domain, a condition and a constraint."""
    return Space(
        [
            Hyperparameter(name="lr", domain=LogUniform(1e-5, 1e-1), default=3e-4),
            Hyperparameter(name="dropout", domain=Uniform(0.0, 0.5)),
            Hyperparameter(name="mixup", domain=QUniform(0.0, 0.4, 0.05)),
            Hyperparameter(name="depth", domain=Integer(1, 8)),
            Hyperparameter(name="optimizer", domain=Choice(("sgd", "adamw", "lion"))),
            Hyperparameter(
                name="power",
                domain=Uniform(0.5, 2.0),
                when=Condition.parse({"optimizer": ["sgd", "lion"], "depth": ">= 3"}),
            ),
            Hyperparameter(name="dataset", domain=Fixed("cifar10")),
        ],
        {"rule": Expression("depth * dropout <= 3")},
    )


class SamplerContract(ABC):
    """Inherit, and say how your sampler is made."""

    needs_finite_space = False
    """Whether the sampler takes finite spaces only, as a grid does."""
    depends_on_seed = True
    """Whether another seed gives other configs."""
    never_repeats = True
    """Whether a config is proposed once only, and None when all were."""
    trials = 24
    """How many trials a test runs."""

    @abstractmethod
    def make_sampler(self, space: Space) -> Sampler:
        """Return a new sampler on ``space``."""

    def spaces(self) -> list[Space]:
        """Return the spaces to try."""
        return [finite_space()] if self.needs_finite_space else [finite_space(), mixed_space()]

    def run(self, sampler: Sampler, space: Space, seed: int = _SEED) -> list[Config]:
        """Return what the sampler proposes when every trial ends with some loss."""
        configs: list[Config] = []
        for trial in range(self.trials):
            config = sampler.propose(trial, self.history(space, configs), seed)
            if config is None:
                break
            configs.append(config)
        return configs

    def history(self, space: Space, configs: Sequence[Config]) -> HistoryView:
        """Return a history in which each config has a loss that depends on it."""
        observations = [
            Observation(trial=trial, rung=0, resource=1, loss=_loss(space, config))
            for trial, config in enumerate(configs)
        ]
        return FixedHistory(list(configs), observations)

    def test_has_a_name(self) -> None:
        """The name goes into the journal as the origin of a config."""
        sampler = self.make_sampler(finite_space())

        assert sampler.name
        assert isinstance(sampler.name, str)

    def test_tells_where_configs_come_from(self) -> None:
        """The origin of a trial is a start point or the sampler, whatever was proposed."""
        sampler = self.make_sampler(finite_space())

        assert {sampler.origin(trial) for trial in range(3)} <= {"start", sampler.name}
        assert sampler.origin(10_000) == sampler.name

    def test_proposes_configs_of_the_space(self) -> None:
        """Every config has the active names, values of the domains, and keeps the constraints."""
        for space in self.spaces():
            configs = self.run(self.make_sampler(space), space)

            assert configs
            assert all(space.accepts(config) for config in configs)

    def test_values_have_plain_types(self) -> None:
        """Configs go through JSON: numpy's numbers would not come back the same."""
        for space in self.spaces():
            for config in self.run(self.make_sampler(space), space):
                assert {type(value) for value in config.values()} <= {str, int, float, bool}

    def test_config_names_are_in_spec_order(self) -> None:
        """The order of the spec is the order on the command line of the program."""
        for space in self.spaces():
            for config in self.run(self.make_sampler(space), space):
                assert list(config) == [name for name in space.names if name in config]

    def test_same_question_same_answer(self) -> None:
        """A sampler that was asked other things before answers as a fresh one."""
        for space in self.spaces():
            used = self.make_sampler(space)
            configs = self.run(used, space)
            for trial in (0, len(configs) // 2, len(configs) - 1):
                history = self.history(space, configs[:trial])

                assert used.propose(trial, history, _SEED) == configs[trial]
                assert self.make_sampler(space).propose(trial, history, _SEED) == configs[trial]

    def test_other_histories_leave_no_trace(self) -> None:
        """Answering for another study in between changes nothing."""
        for space in self.spaces():
            sampler = self.make_sampler(space)
            configs = self.run(sampler, space)
            sampler.propose(1, self.history(space, configs[1:2]), _SEED + 1)

            assert self.run(sampler, space) == configs

    def test_order_of_names_in_history_is_irrelevant(self) -> None:
        """A config read back from a file may list its names in another order."""
        for space in self.spaces():
            configs = self.run(self.make_sampler(space), space)
            trial = len(configs) - 1
            turned = [dict(reversed(list(config.items()))) for config in configs[:trial]]

            proposed = self.make_sampler(space).propose(trial, self.history(space, turned), _SEED)

            assert proposed == configs[trial]

    def test_history_is_left_alone(self) -> None:
        """A sampler reads the history and changes nothing in it."""
        for space in self.spaces():
            configs = self.run(self.make_sampler(space), space)
            history = FixedHistory([dict(config) for config in configs[:3]])
            self.make_sampler(space).propose(3, history, _SEED)

            assert list(history.configs) == configs[:3]

    def test_seed_decides(self) -> None:
        """Another seed gives another search, unless the sampler is not random."""
        space = self.spaces()[-1]
        one = self.run(self.make_sampler(space), space, seed=1)
        other = self.run(self.make_sampler(space), space, seed=2)

        assert (one != other) == self.depends_on_seed

    def test_every_config_once(self) -> None:
        """A finite space is visited in full, each config once; then there is none left."""
        if not self.never_repeats:
            return
        space = finite_space()
        configs = self.run(self.make_sampler(space), space)

        assert len(configs) == 20
        assert len({space.key(config) for config in configs}) == 20

    def test_failed_trials_are_no_obstacle(self) -> None:
        """Trials without a loss (NaN, a failed program) do not stop the search."""
        for space in self.spaces():
            configs = self.run(self.make_sampler(space), space)[:6]
            failed = [Observation(trial=n, rung=0, resource=1, loss=None) for n in range(6)]
            config = self.make_sampler(space).propose(6, FixedHistory(configs, failed), _SEED)

            assert config is not None
            assert space.accepts(config)


def _loss(space: Space, config: Config) -> float:
    return math.fsum((coordinate - 0.3) ** 2 for coordinate in space.encode(config))
