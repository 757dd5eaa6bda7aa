"""The results at one rung in their strict order, for every scheduler that ranks trials."""

from __future__ import annotations

from bisect import bisect_left, insort

from slurmtune.core.objective import RankingKey, ranking_key


class Rung:
    """Trials that finished one rung, best first: by loss, then by who finished first.

    Failed trials (loss None) count in `size` and rank behind all others. The first result of a
    trial stands. Every operation costs O(log n) comparisons.
    """

    def __init__(self) -> None:
        self._keys: dict[int, RankingKey] = {}
        self._order: list[RankingKey] = []

    def __contains__(self, trial: int) -> bool:
        return trial in self._keys

    @property
    def size(self) -> int:
        """How many trials finished here, failed ones included."""
        return len(self._order)

    def add(self, trial: int, loss: float | None) -> RankingKey:
        """Insert the result of a trial that is not here yet and return its place in the order."""
        key = self._keys[trial] = ranking_key(loss, len(self._order), trial)
        insort(self._order, key)
        return key

    def loss(self, trial: int) -> float | None:
        """Return the loss of a trial that finished here; None if it failed."""
        failed, loss, _, _ = self._keys[trial]
        return None if failed else loss

    def place(self, trial: int) -> int:
        """Return how many trials are better than ``trial``, which finished here: 0 is the best."""
        return bisect_left(self._order, self._keys[trial])

    def best(self, count: int) -> list[int]:
        """Return the best ``count`` trials in order; fewer when not so many succeeded."""
        return [trial for failed, _, _, trial in self._order[:count] if not failed]

    def loss_at(self, place: int) -> float | None:
        """Return the loss of the trial at this place; None if it failed."""
        failed, loss, _, _ = self._order[place]
        return None if failed else loss
