"""The results at one rung in their strict order, for every scheduler that ranks trials."""

from __future__ import annotations

from bisect import bisect_left, insort
from heapq import heapify, heappop, heappush

from slurmtune.core.objective import RankingKey, ranking_key


class Rung:
    """Trials that finished one rung, best first: by loss, then by who finished first.

    Failed trials (loss None) count in `size` and rank behind all others. The first result of a
    trial stands. Every operation costs O(log n) comparisons, but for `best` and `results`.
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

    def key(self, trial: int) -> RankingKey:
        """Return what the trial, which finished here, is sorted by."""
        return self._keys[trial]

    def loss(self, trial: int) -> float | None:
        """Return the loss of a trial that finished here; None if it failed."""
        return _loss_of(self._keys[trial])

    def place(self, trial: int) -> int:
        """Return how many trials are better than ``trial``, which finished here: 0 is the best."""
        return bisect_left(self._order, self._keys[trial])

    def is_within(self, trial: int, places: int) -> bool:
        """Tell whether ``trial``, which finished here, is among the best ``places``; in O(1)."""
        if places >= len(self._order):
            return True
        return places > 0 and self._keys[trial] <= self._order[places - 1]

    def best(self, count: int) -> list[int]:
        """Return the best ``count`` trials in order; fewer when not so many succeeded."""
        return [trial for failed, _, _, trial in self._order[:count] if not failed]

    def loss_at(self, place: int) -> float | None:
        """Return the loss of the trial at this place; None if it failed."""
        return _loss_of(self._order[place])

    def cutoff(self, places: int) -> float | None:
        """Return the loss of the last of the best ``places``; None if there is none, or failed."""
        return self.loss_at(places - 1) if 0 < places <= len(self._order) else None

    def results(self) -> list[tuple[int, float | None]]:
        """Return trials and losses, best first."""
        return [(key[-1], _loss_of(key)) for key in self._order]


class Tail:
    """Trials of a rung that may yet go on, seen from the worst: who is too far back for ever?

    Places only get worse, so whoever is behind the last place that can ever go on is out. Each
    trial costs O(log n) in all.
    """

    def __init__(self, rung: Rung) -> None:
        self._rung = rung
        self._worst_first: list[tuple[float, int, int]] = []
        self._out: list[tuple[float, int, int]] = []
        self._told: set[int] = set()
        self._left: set[int] = set()

    @property
    def out(self) -> int:
        """How many are out."""
        return len(self._out)

    def add(self, key: RankingKey) -> None:
        """A trial finished the rung, with a finite loss; ``key`` is what `Rung.add` returned."""
        _, loss, sequence, trial = key
        heappush(self._worst_first, (-loss, -sequence, trial))

    def leave(self, trial: int) -> None:
        """The trial was promoted."""
        self._left.add(trial)

    def cut(self, places: int) -> list[int]:
        """Return who is out now, if never more than the best ``places`` go on; each trial once."""
        found = []
        while self._worst_first:
            trial = self._worst_first[0][-1]
            if trial in self._left:
                heappop(self._worst_first)
                continue
            if self._rung.is_within(trial, places):
                break
            self._out.append(heappop(self._worst_first))
            if trial not in self._told:
                self._told.add(trial)
                found.append(trial)
        return found

    def forget(self, trial: int) -> None:
        """Nobody was told that the trial is out: it is returned once more if it is out again."""
        self._told.discard(trial)

    def restore(self) -> None:
        """Nobody is out any more: more places than was thought can go on."""
        self._worst_first += self._out
        self._out.clear()
        heapify(self._worst_first)


def _loss_of(key: RankingKey) -> float | None:
    failed, loss, _, _ = key
    return None if failed else loss
