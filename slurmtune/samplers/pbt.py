"""Population-based training: the config of an heir is its donor's, a little changed.

Jaderberg et al., "Population Based Training of Neural Networks", 2017: "explore" by perturbing
and resampling (section 4.1.1 and appendix A.1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView, Sampler
from slurmtune.core.seeding import generator
from slurmtune.space.domain import Choice, Distribution, Domain, Scalar
from slurmtune.space.space import Space

if TYPE_CHECKING:
    import numpy as np

_MAX_DRAWS = 100
"""Changes of one donor that may break the constraints before the heir keeps its config."""


class PbtSampler:
    """Varies the config of a trial's first parent; asks another sampler where there is none.

    Each hyperparameter is drawn anew from its domain with probability ``resample``; else it is
    changed by `perturbed`, up or down with equal probability. The config stays within the space:
    a hyperparameter that becomes active by the change of another one is drawn, one that is no
    longer active is dropped, and changes that break a constraint are drawn again; if a hundred in
    a row break one, the heir keeps its donor's config. An heir may repeat an earlier config: it
    goes on from other weights.
    """

    name = "pbt"

    def __init__(
        self, space: Space, then: Sampler, *, resample: float = 0.25, perturb: float = 1.2
    ) -> None:
        """Store the plan.

        Args:
            space: Of all configs.
            then: Chooses the configs of trials without parents.
            resample: Probability with which a hyperparameter is drawn anew.
            perturb: Factor of numbers that go up; ``2 - perturb`` is that of those that go down.

        Raises:
            ValueError: a figure is out of its range.
        """
        if not 0 <= resample <= 1:
            raise ValueError(f"resample must be from 0 to 1, not {resample!r}")
        if not 1 < perturb < 2:
            raise ValueError(f"perturb must be above 1 and below 2, not {perturb!r}")
        self._space = space
        self._then = then
        self._resample = resample
        self._perturb = perturb
        self._asked_then: set[int] = set()
        """Trials whose config was left to the other sampler: a label, nothing depends on it."""

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return a variation of the parent's config, or what the other sampler proposes.

        Raises:
            SpecError: the other sampler finds the constraints too tight.
        """
        parents = history.asked[-1].parents
        if not parents:
            self._asked_then.add(trial)
            return self._then.propose(trial, history, seed)
        self._asked_then.discard(trial)
        # Start points count before ``trial``; the stream is that of the trial's real number.
        random = generator(seed, self.name, len(history.configs))
        return self._vary(history.configs[parents[0]], random)

    def origin(self, trial: int) -> str:
        """Return the other sampler's word for a trial that was left to it, else ``pbt``."""
        return self._then.origin(trial) if trial in self._asked_then else self.name

    def _vary(self, donor: Config, random: np.random.Generator) -> Config:
        for _ in range(_MAX_DRAWS):
            config = self._varied(donor, random)
            if self._space.keeps_constraints(config):
                return config
        return self._space.complete(donor, [0.5] * self._space.dimension)

    def _varied(self, donor: Config, random: np.random.Generator) -> Config:
        """Return a change of ``donor`` that may break constraints."""
        names = self._space.searched
        fates, ways, point = (random.random(len(names)).tolist() for _ in range(3))
        kept = {
            name: perturbed(
                self._space[name].domain, donor[name], up=way < 0.5, factor=self._perturb
            )
            for name, fate, way in zip(names, fates, ways, strict=True)
            if name in donor and fate >= self._resample
        }
        return self._space.complete(kept, point)


def perturbed(domain: Domain, value: Scalar, *, up: bool, factor: float) -> Scalar:
    """Return a neighbour of ``value`` in ``domain``.

    A number is multiplied by ``factor`` if it goes up, else by ``2 - factor``, on its natural
    scale; then rounded as the values of the domain are and moved into its bounds. One that would
    stay the same by the rounding goes to the next step instead, unless it is at the bound. A
    listed value with an order goes to its neighbour in the list. A category stays; so does a
    number without steps that is 0.
    """
    if isinstance(domain, Choice) and domain.ordered:
        index = domain.index(value) + (1 if up else -1)
        return domain.levels[min(max(index, 0), len(domain.levels) - 1)]
    if not isinstance(domain, Distribution):
        return value
    number = float(value)
    product = number * (factor if up else 2 - factor)
    if not math.isfinite(product):
        return value
    found = domain.nearest(product)
    if found == number and domain.step is not None:
        # Up is away from 0, as for the product.
        is_right = up != (number < 0)
        found = domain.nearest(number + (domain.step if is_right else -domain.step))
    return found
