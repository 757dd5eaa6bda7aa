"""What samplers see of a study: configs by trial number, and finished rungs in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slurmtune.core.events import Config
from slurmtune.core.ports import Asked, Observation


@dataclass(slots=True)
class History:
    """Grows with the study; read through `slurmtune.core.ports.HistoryView`."""

    _configs: list[Config] = field(default_factory=list)
    _asked: list[Asked] = field(default_factory=list)
    _observations: list[Observation] = field(default_factory=list)

    @property
    def configs(self) -> Sequence[Config]:
        """Configs of all trials proposed so far, by trial number."""
        return self._configs

    @property
    def asked(self) -> Sequence[Asked]:
        """What was asked of each trial, by trial number; last what is asked now."""
        return self._asked

    @property
    def observations(self) -> Sequence[Observation]:
        """Finished rungs, in the order in which they were finished."""
        return self._observations

    def ask(self, asked: Asked) -> None:
        """Note what is asked of the next trial, in place of an answer that never came."""
        del self._asked[len(self._configs) :]
        self._asked.append(asked)

    def add_config(self, config: Config) -> None:
        """Append the config of the next trial."""
        self._configs.append(config)

    def add_observation(self, observation: Observation) -> None:
        """Append a finished rung."""
        self._observations.append(observation)
