"""PASHA: ASHA that trains no further than is needed to know who is better.

Bohdal et al., "PASHA: Efficient HPO and NAS with Progressive Resource Allocation", ICLR 2023.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush, heappushpop
from math import isfinite
from operator import gt, lt, sub

from slurmtune.core.events import Resource
from slurmtune.core.objective import RankingKey, ranking_key
from slurmtune.core.ports import Decision, Promote, Standing, StartTrial
from slurmtune.schedulers.asha import Asha, AshaBracket

NEIGHBOURS = 64
"""With so many trials that finished the rung before it, a trial's curve is compared."""


class SoftRanking:
    """Whether the trials of a rung come in the same order as at the rung below, roughly.

    At each place of the upper rung there must be a trial whose loss at the lower rung is within
    epsilon of the loss of the trial that holds this place there. Only trials of the upper rung
    count. A trial costs O(log n) and its distance, in places, between the two orders, apart from
    moving memory; the question O(1), and O(n) when epsilon has become less than what was found.
    """

    def __init__(self) -> None:
        self._keys: list[RankingKey] = []
        self._below: list[float] = []
        """Losses at the lower rung, in the order of the upper one; and in their own order."""
        self._sorted: list[float] = []
        self._most = 0.0
        """No trial is farther than this from the loss that holds its place."""

    def add(self, key: RankingKey, below: float) -> None:
        """Add a trial by its key at the upper rung and its loss at the lower one."""
        place = bisect_left(self._keys, key)
        other = bisect_left(self._sorted, below)
        self._keys.insert(place, key)
        self._below.insert(place, below)
        self._sorted.insert(other, below)
        # Before the first and behind the second of the two places, the same losses still meet.
        first, last = (place, other) if place < other else (other, place)
        self._most = max(self._most, self._distance(first, last + 1))

    def agrees(self, epsilon: float) -> bool:
        """Tell whether every trial has its place, give or take epsilon."""
        if self._most > epsilon:
            self._most = self._distance(0, len(self._keys))
        return self._most <= epsilon

    def _distance(self, start: int, end: int) -> float:
        """Return the largest difference in loss at the places from ``start`` to before ``end``."""
        pairs = map(sub, self._below[start:end], self._sorted[start:end])
        return max(map(abs, pairs), default=0.0)


class Curve:
    """What a trial reported, in the order of the resources; only finite losses."""

    def __init__(self, reports: Iterable[tuple[Resource, float]] = ()) -> None:
        self._resources = array("d")
        self._losses = array("d")
        for resource, loss in reports:
            self.add(resource, loss)

    def __iter__(self) -> Iterator[tuple[Resource, float]]:
        return zip(self._resources, self._losses, strict=True)

    def add(self, resource: Resource, loss: float) -> None:
        """Append a report; one at a resource that was reported, or below, changes nothing."""
        if not self._resources or resource > self._resources[-1]:
            self._resources.append(resource)
            self._losses.append(loss)

    def up_to(self, level: Resource) -> Curve:
        """Return what was reported up to ``level``."""
        count = bisect_right(self._resources, level)
        part = Curve()
        part._resources, part._losses = self._resources[:count], self._losses[:count]
        return part

    def distance_if_crossed(self, other: Curve, above: Resource) -> float | None:
        """Return how far two trials are apart at the highest resource that both reported.

        None unless that lies above ``above`` and their order there was the other way round at
        some lower resource, and the same as there at one that is lower still. Equal losses are
        in no order.
        """
        resources: Sequence[Resource] = self._resources
        mine: Sequence[float] = self._losses
        others: Sequence[float] = other._losses
        if other._resources != resources:
            resources, mine, others = _common(self, other)
        if not resources or resources[-1] <= above or mine[-1] == others[-1]:
            return None
        worse, better = (mine, others) if mine[-1] > others[-1] else (others, mine)
        turned = _last(lt, worse, better, len(resources))
        if turned < 0 or _last(gt, worse, better, turned) < 0:
            return None
        distance = worse[-1] - better[-1]
        return distance if isfinite(distance) else None


class Noise:
    """Epsilon: how far apart trials are whose order is a matter of chance.

    The 90th percentile of `Curve.distance_if_crossed` over pairs of trials, each pair once,
    interpolated linearly between the two nearest of the n sorted distances: position
    ``0.9 * (n - 1)``, counted from 0. To bound the cost, a trial is paired with the `NEIGHBOURS`
    trials that came before it: that is all pairs of a rung of up to 65 trials. A trial costs
    O(log n).
    """

    def __init__(self, above: Resource, level: Resource) -> None:
        self._above, self._level = above, level
        self._recent: deque[Curve] = deque(maxlen=NEIGHBOURS)
        self._lower: list[float] = []
        """The distances up to the percentile's position, negated, as a heap: the largest first."""
        self._upper: list[float] = []
        """Those above, as a heap: the smallest first."""

    def add(self, curve: Curve) -> None:
        """A trial came to the level with these reports."""
        mine = curve.up_to(self._level)
        for other in self._recent:
            distance = mine.distance_if_crossed(other, self._above)
            if distance is not None:
                self._insert(distance)
        self._recent.append(mine)

    @property
    def epsilon(self) -> float | None:
        """The percentile; None while no pair of trials has crossed twice."""
        if not self._lower:
            return None
        tenths = self._position()[1]
        low = -self._lower[0]
        if not tenths:
            return low
        return low + (self._upper[0] - low) * tenths / 10

    def _insert(self, distance: float) -> None:
        heappush(self._upper, -heappushpop(self._lower, -distance))
        if len(self._lower) <= self._position()[0]:
            heappush(self._lower, -heappop(self._upper))

    def _position(self) -> tuple[int, int]:
        """Return where the percentile lies: the place from 0 on, and tenths of the way on."""
        return divmod(9 * (len(self._lower) + len(self._upper) - 1), 10)


@dataclass(slots=True)
class _Comparison:
    """The two highest open rungs."""

    lower: int
    upper: int
    ranking: SoftRanking
    noise: Noise


class PashaBracket(AshaBracket):
    """A bracket of ASHA in which trials go no further than the highest open rung.

    Args:
        levels: Resource of each rung.
        reduction_factor: The best ``1 / reduction_factor`` of a rung below the highest go on.
        final: Whether the best trial may go on to the last rung when all else is done.
    """

    def __init__(self, levels: Sequence[Resource], reduction_factor: int, *, final: bool) -> None:
        super().__init__(len(levels), reduction_factor)
        self._levels = levels
        self._final = final
        self.epsilon = 0.0
        """Difference in loss within which an order is a matter of chance."""
        self._on_way = 0
        """Trials that have not finished the rung that they are trained up to."""
        self._may_start = True
        """Whether new trials could be started when `next` was called last."""
        self._is_closing = False
        """Whether nothing but the training of the best one is left to do."""
        self._curves: dict[int, Curve] = {}
        self._compared = self._compare(min(1, self._last))

    @property
    def top(self) -> int:
        """The highest open rung."""
        return self._compared.upper

    def start(self, trial: int, rung: int) -> None:
        """A trial was started; it is trained up to ``rung`` first."""
        super().start(trial, rung)
        self._on_way += 1
        self._curves[trial] = Curve()

    def report(self, trial: int, resource: Resource, loss: float | None) -> None:
        """A trial reported; without a finite loss that is nothing."""
        if not ranking_key(loss, 0, trial)[0] and loss is not None:
            self._curves[trial].add(resource, loss)

    def finish(self, trial: int, rung: int, loss: float | None) -> bool:
        """A trial finished a rung; False when that was known. May open one more rung."""
        is_new = super().finish(trial, rung, loss)
        if is_new:
            self._on_way -= 1
            if rung == self.top and self._rungs[rung].loss(trial) is not None:
                self._add(self._compared, trial)
                self._open_if_needed()
            self._is_closing = False
            self._is_closing = self._closes()
        return is_new

    def next(self, *, may_start: bool) -> Promote | None:
        """Return the promotion from the highest possible rung.

        When no trial may be started or runs, and none can go on, and ``final``: the best one of
        the highest open rung with a result goes on, up to the last rung.
        """
        self._is_closing, self._may_start = False, may_start
        promotion = self._promotion()
        if promotion is None and self._closes():
            self._is_closing = True
            promotion = self._promotion()
        return promotion

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how the trial stands in the rung as it is now."""
        standing = super().standing(trial, rung)
        if standing is None or rung == self._last:
            return standing
        if self._is_closing and rung >= self._highest_with_result():
            rule = "when all else is done, the best of the highest rung goes on"
            return replace(standing, rule=rule, outlook="" if standing.place else standing.outlook)
        if rung < self.top:
            return standing
        rule = f"rung {self.top} is the highest while it ranks as rung {self._compared.lower} did"
        if standing.place is None:
            return replace(standing, rule=rule)
        outlook = (
            "goes on if the order turns out different and it is among the best "
            f"1/{self._reduction_factor}"
        )
        if self._final:
            outlook += ", or if it is the best when all else is done"
        return replace(standing, rule=rule, outlook=outlook)

    def drop(self, rung: int) -> bool:
        """Send no further trial to ``rung``; False for the last one."""
        if not super().drop(rung):
            return False
        top = self._next_rung(self.top)
        if top == self._first:  # it needs one below it to be compared with
            top = self._next_rung(min(top + 1, self._last))
        self._open(top)
        return True

    def _promote(self, trial: int, rung: int, to: int) -> Promote:
        self._on_way += 1
        return super()._promote(trial, rung, to)

    def _closes(self) -> bool:
        """Tell whether no trial may be started or runs, and none can go on."""
        if not self._final or self._may_start or self._on_way:
            return False
        return all(self._next_of(rung) is None for rung in range(self._last))

    def _promotion(self) -> Promote | None:
        for rung in range(self._last - 1, -1, -1):
            promotion = self.promote_from(rung)
            if promotion is not None:
                return promotion
        return None

    def _places(self, rung: int) -> int:
        places = super()._places(rung) if rung < self.top else 0
        if self._is_closing and rung >= self._highest_with_result():
            return max(1, places)
        return places

    def _cut(self, rung: int, places: int) -> None:
        # The best one of a rung goes on in the end, however small the rung is.
        super()._cut(rung, max(1, places) if self._final else places)

    def _highest_with_result(self) -> int:
        """Return the highest open rung that a trial finished well."""
        return next((rung for rung in range(self.top, 0, -1) if self._rungs[rung].best(1)), 0)

    def _compare(self, upper: int) -> _Comparison:
        """Return the comparison of an open rung with the highest open one below."""
        lower = next((k for k in range(upper - 1, -1, -1) if not self._is_dropped[k]), upper)
        noise = Noise(self._levels[lower], self._levels[upper])
        compared = _Comparison(lower, upper, SoftRanking(), noise)
        keys = (self._rungs[upper].key(trial) for trial, _ in self._rungs[upper].results())
        for failed, _, _, trial in sorted(keys, key=_sequence):
            if not failed:
                self._add(compared, trial)
        return compared

    def _add(self, compared: _Comparison, trial: int) -> None:
        below = self._rungs[compared.lower]
        loss = below.loss(trial) if trial in below else None
        if loss is not None:
            compared.ranking.add(self._rungs[compared.upper].key(trial), loss)
            compared.noise.add(self._curves[trial])

    def _open(self, rung: int) -> None:
        self._compared = self._compare(rung)
        self._open_if_needed()

    def _open_if_needed(self) -> None:
        """Open one more rung if the order of the highest two is not the same."""
        found = self._compared.noise.epsilon
        if found is not None:
            self.epsilon = found
        if self.top < self._last and not self._compared.ranking.agrees(self.epsilon):
            self._open(self._next_rung(self.top + 1))


class Pasha(Asha):
    """ASHA on a ladder that opens rung by rung, as long as training longer changes the ranking.

    Rungs 0 and 1 are open at first. After each result at the highest open rung, the order of its
    trials is compared with their order at the next lower open rung (`SoftRanking`); one more rung
    opens when they differ by more than epsilon, the noise of the learning curves (`Noise`).
    Epsilon is 0 until curves have crossed there and back, and keeps its value until the curves up
    to a newly opened rung say something else. A trial that failed at the rung has no place in the
    order; a report that is not finite is not part of a curve.

    Args:
        levels: Resource of each rung.
        reduction_factor: The best ``1 / reduction_factor`` of a rung below the highest go on.
        final: When no trial may be started, none runs and none can go on, the best trial of the
            highest open rung with a result is trained on, rung by rung, up to the last rung; but
            not past a rung where another one did better, nor another one in its place if it
            fails.

    Raises:
        ValueError: the ladder or the factor is wrong.
    """

    _bracket: PashaBracket

    def __init__(
        self, levels: Sequence[Resource], reduction_factor: int, *, final: bool = True
    ) -> None:
        super().__init__(levels, reduction_factor)
        self._bracket = PashaBracket(self._levels, reduction_factor, final=final)

    @property
    def watches(self) -> bool:
        """True: epsilon comes from the learning curves."""
        return True

    @property
    def top(self) -> int:
        """The highest open rung."""
        return self._bracket.top

    @property
    def epsilon(self) -> float:
        """Difference in loss within which an order is taken for a matter of chance."""
        return self._bracket.epsilon

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return the promotion from the highest possible rung, else a new trial."""
        self._asked = None
        promotion = self._bracket.next(may_start=may_start)
        if promotion is not None or not may_start:
            return promotion
        self._asked = self._bracket.first
        return StartTrial(rung=self._asked)

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Note the report; nobody is stopped."""
        if trial not in self._homes:
            raise ValueError(f"trial {trial} reported at {resource} but was never started")
        self._bracket.report(trial, resource, loss)
        return False


def _sequence(key: RankingKey) -> int:
    return key[2]


def _common(
    one: Curve, other: Curve
) -> tuple[Sequence[Resource], Sequence[float], Sequence[float]]:
    """Return the resources that both reported, and the losses of each there."""
    theirs = dict(other)
    rows = [(at, loss, theirs[at]) for at, loss in one if at in theirs]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _last(
    holds: Callable[[float, float], bool], ones: Sequence[float], others: Sequence[float], end: int
) -> int:
    """Return the last index below ``end`` where ``holds(one, other)``; -1 if there is none."""
    return bytes(map(holds, ones, others)).rfind(1, 0, end)
