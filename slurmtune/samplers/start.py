"""Start points: what the user wants tried first, before any sampler chooses."""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView, Sampler
from slurmtune.core.seeding import generator
from slurmtune.errors import SpecError
from slurmtune.samplers.proposed import Proposed
from slurmtune.space.space import Space

_MAX_DRAWS = 10_000
"""Draws of the missing values of one start point."""


class StartPointSampler:
    """Proposes the start points, completed by random values, then asks another sampler.

    The sampler behind counts its trials from 0 after the start points: a grid is visited in full,
    and a low-discrepancy sequence begins at its beginning. A start point is proposed even if it
    repeats an earlier config: the user asked for it.
    """

    def __init__(self, space: Space, points: Sequence[Config], then: Sampler) -> None:
        """Check the start points.

        Raises:
            ValueError: a start point holds what this space cannot; the message numbers it from 1.
        """
        for number, point in enumerate(points, start=1):
            try:
                space.check_start(point)
            except ValueError as error:
                raise ValueError(f"start point {number}: {error}") from None
        self.name = then.name
        self._space = space
        self._points = tuple(dict(point) for point in points)
        self._then = then
        self._proposed = Proposed(space)

    def origin(self, trial: int) -> str:
        """Return ``start`` for a start point, else what the sampler behind says."""
        behind = trial - len(self._points)
        return "start" if behind < 0 else self._then.origin(behind)

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return start point ``trial``, or what the sampler behind proposes.

        Raises:
            SpecError: no values of the missing hyperparameters go with the start point.
        """
        if trial >= len(self._points):
            return self._then.propose(trial - len(self._points), history, seed)
        point = self._points[trial]
        seen = self._proposed.keys(history)
        random = generator(seed, "start", trial)
        repeated: Config | None = None
        for _ in range(_MAX_DRAWS):
            config = self._space.complete(point, random.random(self._space.dimension).tolist())
            if not (point.keys() <= config.keys() and self._space.keeps_constraints(config)):
                continue
            if point.keys() == config.keys() or self._space.key(config) not in seen:
                return config
            repeated = repeated or config
        if repeated is not None:
            return repeated
        raise SpecError(
            f"start point {trial + 1}: {_MAX_DRAWS} random completions in a row broke the "
            "conditions or constraints; give more of its values"
        )
