"""Grid search: every combination once, the last hyperparameter changing fastest."""

from __future__ import annotations

from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView
from slurmtune.space.space import Space


class GridSampler:
    """Gives trial ``n`` the n-th combination that keeps the constraints.

    ``cap`` visits the first so many combinations only. Neither history nor seed matter; the
    combinations visited so far are kept, so each is computed once.
    """

    name = "grid"

    def __init__(self, space: Space, cap: int | None = None) -> None:
        """Prepare the walk over the grid.

        Raises:
            ValueError: a hyperparameter is continuous.
        """
        self._cap = cap
        self._rest = space.grid()
        self._visited: list[Config] = []

    def origin(self, trial: int) -> str:
        """Return the sampler's name: every trial comes from it."""
        del trial
        return self.name

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return combination ``trial``, or None after the last one."""
        del history, seed
        if self._cap is not None and trial >= self._cap:
            return None
        while len(self._visited) <= trial:
            config = next(self._rest, None)
            if config is None:
                return None
            self._visited.append(config)
        return dict(self._visited[trial])
