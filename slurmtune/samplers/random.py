"""Random search: independent configs, each proposed once.

Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView
from slurmtune.core.seeding import generator
from slurmtune.errors import SpecError
from slurmtune.samplers.proposed import Proposed
from slurmtune.space.space import Space

if TYPE_CHECKING:
    import numpy as np

_MAX_DRAWS = 20_000
"""Draws for one trial; constraints that refuse all of them are taken for a mistake."""
_MAX_REPEATED = 200
"""Draws of one trial that may repeat an earlier config before the rest of the space is listed."""
_MAX_LISTED = 100_000
"""Spaces up to this size are listed to find what is left; larger ones are not soon exhausted."""


class RandomSampler:
    """Draws from the distributions of the space; never proposes a config twice.

    A draw that breaks a constraint or repeats a config is drawn again. When nearly all of a small
    space was proposed, one of the configs left is chosen, all alike.
    """

    name = "random"

    def __init__(self, space: Space) -> None:
        self._space = space
        self._proposed = Proposed(space)
        self._listed: dict[str, Config] | None = None

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return a new config, or None when every config was proposed.

        Raises:
            SpecError: the constraints refuse everything, or nearly everything.
        """
        return self.draw(generator(seed, self.name, trial), history)

    def origin(self, trial: int) -> str:
        """Return the sampler's name: every trial comes from it."""
        del trial
        return self.name

    def draw(self, random: np.random.Generator, history: HistoryView) -> Config | None:
        """Return a new config from the given generator, as `propose`."""
        seen = self._proposed.keys(history)
        repeated = 0
        for _ in range(_MAX_DRAWS):
            config = self._space.draw(random)
            if not self._space.keeps_constraints(config):
                continue
            if self._space.key(config) not in seen:
                return config
            repeated += 1
            if repeated == _MAX_REPEATED:
                break
        return self._from_rest(random, seen, repeated)

    def _from_rest(
        self, random: np.random.Generator, seen: set[str], repeated: int
    ) -> Config | None:
        size = self._space.size
        if size is not None and size <= _MAX_LISTED:
            listed = self._all_listed()
            rest = [key for key in listed if key not in seen]
            if rest:
                return dict(listed[rest[int(random.integers(len(rest)))]])
            if listed:
                return None
        if repeated:
            return None
        raise SpecError(
            f"the constraints ({', '.join(self._space.constraints)}) refuse every config: "
            f"{_MAX_DRAWS} draws in a row broke them; loosen them or change the space"
        )

    def _all_listed(self) -> dict[str, Config]:
        """Return all configs of a small space by key; a function of the space, so kept."""
        if self._listed is None:
            self._listed = {self._space.key(config): config for config in self._space.grid()}
        return self._listed
