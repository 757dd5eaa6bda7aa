"""Notices rungs whose results are not worth what they cost.

Early results decide about trials only as far as they foretell later ones. When they do not, a rung
drops trials by lot; when reaching it takes as long as reaching the next, it saves nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

LEAST_CORRELATION = 0.3
"""Below it a rung does not pay: with a reduction factor of 3, the best third of the trials that
the budget then allows is as good without it."""
SURE_CORRELATION = 0.4
"""With 95 % confidence, the correlation must lie below it."""
LEAST_PAIRS = 20
"""Trials with results at both rungs that are needed to judge the correlation."""
MOST_SHARE = 0.8
"""A rung that takes this share of the time of the next is not cheaper."""
LEAST_TIMED = 10
"""Trials that are needed to judge the times, or to know how long a program takes to start."""
_NORMAL_95 = 1.6448536269514722
"""95 % of a standard normal distribution lie below."""
_GROWTH = 1.1
"""What was found is computed anew when there are so many times as many trials."""


class FindingKind(Enum):
    """What is wrong with a rung."""

    SAYS_NOTHING = "SAYS_NOTHING"
    """Its results do not foretell those of the next rung."""
    NOT_CHEAPER = "NOT_CHEAPER"
    """Reaching it takes almost as long as reaching the next rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rung and what is wrong with it; ``str(finding)`` says it in a sentence."""

    rung: int
    next_rung: int
    """The rung that it was held against."""
    kind: FindingKind
    trials: int
    """Trials that it was found from."""
    control: bool = False
    """Whether these were only such as run to the end whatever their results."""
    among: int = 0
    """Trials with a finite loss at the rung, those that did not go on included."""
    correlation: float | None = None
    """Rank correlation between the results of the two rungs, among all trials of the first."""
    bound: float | None = None
    """Upper bound of the correlation, one-sided, 95 %."""
    share: float | None = None
    """Median time to reach the rung, as a share of the median time to reach the next."""
    starting: float = 0.0
    """Seconds that a program needs before it trains, if the next rung is reached by two of them;
    in ``share`` they count once."""

    def __str__(self) -> str:
        return self._words_on_results() if self.share is None else self._words_on_times()

    def _words_on_results(self) -> str:
        over = f" over {self.trials} trials that went on"
        if self.control:
            over = f" over {self.trials} trials that all run to the end"
        elif self.among > self.trials:
            over = f", estimated from the {self.trials} of {self.among} trials that went on"
        return (
            f"the results at rung {self.rung} say little about those at rung {self.next_rung}: "
            f"rank correlation {self.correlation:.2f}{over}, with 95 % confidence below "
            f"{self.bound:.2f}"
        )

    def _words_on_times(self) -> str:
        whole = f"that reaching rung {self.next_rung} takes"
        medians = f"medians of {self.trials} trials"
        if self.starting:
            whole = f"that going straight to rung {self.next_rung} would take"
            medians += f"; each start takes {self.starting:.3g} s"
        return (
            f"rung {self.rung} saves little: reaching it takes {self.share:.0%} of the time "
            f"{whole} ({medians})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """How a trial came to a rung: from the rung below, or from nothing."""

    units: float
    """What it was trained for."""
    seconds: float
    """How long that took, in all attempts."""
    starts: int
    """How often a program was started; 0: the one that still ran went on."""
    resumed: bool
    """Whether it went on from what it had saved at the rung below."""


@dataclass(slots=True)
class _Looks:
    """When to look at something again that grows."""

    due: int

    def take_due(self, count: int) -> bool:
        """Tell whether to look at so many now; the next time is when there are more."""
        if count < self.due:
            return False
        self.due = math.ceil(count * _GROWTH)
        return True


@dataclass(slots=True)
class _Pairs:
    """Losses at a rung and at the next, of one group of trials."""

    losses: list[tuple[float, float]] = field(default_factory=list)
    looks: _Looks = field(default_factory=lambda: _Looks(LEAST_PAIRS))


@dataclass(slots=True)
class _Times:
    """How long the trials took that went from one rung to the next."""

    seconds: list[float] = field(default_factory=list)
    """Of each trial up to the rung."""
    next_seconds: list[tuple[float, bool]] = field(default_factory=list)
    """Up to the next, and whether a program was started for that once more."""
    looks: _Looks = field(default_factory=lambda: _Looks(LEAST_TIMED))


@dataclass(slots=True)
class _Step:
    """What is known of the trials that went from one rung to the next."""

    everyone: _Pairs = field(default_factory=_Pairs)
    control: _Pairs = field(default_factory=_Pairs)
    times: _Times = field(default_factory=_Times)


@dataclass(frozen=True, slots=True)
class _Result:
    rung: int
    loss: float | None
    seconds: float


class RungGuard:
    """Is told of every finished rung, and finds rungs that are not worth their cost.

    **Says nothing.** Over at least `LEAST_PAIRS` trials with finite losses at a rung and at the
    next one that they finished: the rank correlation, among all trials of the rung, is below
    `LEAST_CORRELATION`, and its upper bound below `SURE_CORRELATION`. The bound is one-sided,
    95 %, from Fisher's z of Spearman's correlation with the variance ``1.06 / (n - 3)`` (Fieller,
    Hartley and Pearson, "Tests for rank correlation coefficients I", Biometrika 1957).

    Trials that went on were chosen by the very results that are judged, and among the chosen the
    correlation is weaker than among all: when the best third of normally distributed results goes
    on, 0.5 becomes 0.29, and 0.7 becomes 0.46. Both figures are corrected for that by
    `unrestricted`, which holds whatever the rule was, as long as it looked at these results.
    Trials of a control group go on whatever their results. As soon as there are `LEAST_PAIRS` of
    them, they alone are judged, and need no correction: they say more, and about all.

    The pairs are looked at again each time that there are 10 % more. What that comes to, by
    simulation with normal results and a reduction factor of 3: percent of the rungs that are found
    by the time that 20, 50 and 100 trials have gone on.

    =====================  ==========  ==========  ==========
    true rank correlation  asha        stopping    control
    =====================  ==========  ==========  ==========
    0                      26, 59, 84  28, 61, 84  51, 90, 99
    0.3                    7, 18, 31   10, 22, 34  10, 30, 46
    0.5                    2, 6, 8     2, 4, 6     1, 4, 4
    0.7                    0, 0, 0     0, 0, 0     0, 0, 0
    0.9                    0, 0, 0     0, 0, 0     0, 0, 0
    =====================  ==========  ==========  ==========

    **Not cheaper.** Over at least `LEAST_TIMED` trials that finished both rungs: the median time
    to reach the rung is `MOST_SHARE` of the median time to reach the next, or more. Only trials
    that finished both count, since the trials that go on may be the slow ones. All times are from
    nothing, so that loading data or compiling counts in both, and once in each: a program that
    was started again to go on to the next rung would not have been without the pause. How long a
    start takes follows from trials with two legs of different length, each run by a program of
    its own: the median of what is left at length 0. Where trials run through their rungs it is
    not known when they passed one, and passing it costs nothing: only results are judged.

    Each rung is found at most once for each kind. A note costs O(log n), amortised.
    """

    def __init__(self) -> None:
        self._last: dict[int, _Result] = {}
        self._losses: dict[int, list[float]] = {}
        """All finite losses by rung."""
        self._steps: dict[tuple[int, int], _Step] = {}
        self._legs: dict[int, list[Leg]] = {}
        """By trial, those that one program ran that was started for it."""
        self._starts: list[float] = []
        """Seconds for a start, as they follow from two legs of a trial."""
        self._known: set[tuple[int, FindingKind]] = set()
        self._dropped: set[int] = set()
        self._new: list[Finding] = []

    def note(
        self,
        trial: int,
        rung: int,
        loss: float | None,
        seconds: float,
        *,
        control: bool,
        leg: Leg | None = None,
    ) -> None:
        """Trial ``trial`` finished ``rung``; what is not above its last rung changes nothing.

        Args:
            trial: Number of the trial.
            rung: The rung that it finished.
            loss: Its loss there; None or not finite: it counts with its time only.
            seconds: Seconds of training from nothing up to this rung, in all its attempts; not
                finite: it counts with its loss only.
            control: Whether it goes on whatever its results.
            leg: How it came there; None: that is not known.
        """
        last = self._last.get(trial)
        if rung in self._dropped or (last is not None and rung <= last.rung):
            return
        if loss is not None and not math.isfinite(loss):
            loss = None
        self._last[trial] = _Result(rung, loss, seconds)
        if loss is not None:
            self._losses.setdefault(rung, []).append(loss)
        self._note_leg(trial, leg)
        if last is None:
            return
        step = self._steps.setdefault((last.rung, rung), _Step())
        if last.loss is not None and loss is not None:
            step.everyone.losses.append((last.loss, loss))
            if control:
                step.control.losses.append((last.loss, loss))
            self._judge_results(last.rung, rung, step)
        if 0 <= last.seconds < math.inf and 0 <= seconds < math.inf:
            started_again = leg is not None and leg.resumed and leg.starts > 0
            step.times.seconds.append(last.seconds)
            step.times.next_seconds.append((seconds, started_again))
            self._judge_times(last.rung, rung, step.times)

    def drop(self, rung: int) -> None:
        """The rung is left out from now on; results there count no more."""
        self._dropped.add(rung)

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found since the last call."""
        found, self._new = tuple(self._new), []
        return found

    def _judge_results(self, rung: int, next_rung: int, step: _Step) -> None:
        is_control = len(step.control.losses) >= LEAST_PAIRS
        pairs = step.control if is_control else step.everyone
        if (rung, FindingKind.SAYS_NOTHING) in self._known:
            return
        if not pairs.looks.take_due(len(pairs.losses)):
            return
        chosen = [first for first, _ in pairs.losses]
        among = chosen if is_control else self._losses[rung]
        correlation = _foretelling(pairs.losses)
        if correlation is None:
            return
        bound = upper_bound(correlation, len(chosen))
        if correlation >= LEAST_CORRELATION or bound >= SURE_CORRELATION:
            return  # what is corrected for restriction lies higher still
        ratio = spread_ratio(among, chosen)
        if ratio is None:
            return
        correlation, bound = (unrestricted(r, max(1.0, ratio)) for r in (correlation, bound))
        if correlation < LEAST_CORRELATION and bound < SURE_CORRELATION:
            self._found(
                Finding(
                    rung=rung,
                    next_rung=next_rung,
                    kind=FindingKind.SAYS_NOTHING,
                    trials=len(chosen),
                    control=is_control,
                    among=len(among),
                    correlation=correlation,
                    bound=bound,
                )
            )

    def _judge_times(self, rung: int, next_rung: int, times: _Times) -> None:
        if (rung, FindingKind.NOT_CHEAPER) in self._known:
            return
        if not times.looks.take_due(len(times.seconds)):
            return
        start = self._start_seconds()
        whole = _median(
            max(part, seconds - start * again)
            for part, (seconds, again) in zip(times.seconds, times.next_seconds, strict=True)
        )
        if whole <= 0:
            return
        share = _median(times.seconds) / whole
        if share >= MOST_SHARE:
            started_again = any(again for _, again in times.next_seconds)
            self._found(
                Finding(
                    rung=rung,
                    next_rung=next_rung,
                    kind=FindingKind.NOT_CHEAPER,
                    trials=len(times.seconds),
                    share=share,
                    starting=start if started_again else 0.0,
                )
            )

    def _note_leg(self, trial: int, leg: Leg | None) -> None:
        """Learn how long a start takes from this leg and an earlier one of another length."""
        if leg is None or leg.starts != 1 or not 0 <= leg.seconds < math.inf:
            return
        legs = self._legs.setdefault(trial, [])
        other = next((old for old in reversed(legs) if old.units != leg.units), None)
        if other is not None:
            unit_seconds = (leg.seconds - other.seconds) / (leg.units - other.units)
            start = leg.seconds - leg.units * unit_seconds
            self._starts.append(min(start, leg.seconds, other.seconds))
        legs.append(leg)

    def _start_seconds(self) -> float:
        """Return how long a program takes to start; 0 as long as too few trials tell."""
        return max(0.0, _median(self._starts)) if len(self._starts) >= LEAST_TIMED else 0.0

    def _found(self, finding: Finding) -> None:
        self._known.add((finding.rung, finding.kind))
        self._new.append(finding)


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Spearman's rank correlation; equals share the mean of their ranks.

    It is Pearson's correlation of the ranks, computed with integers up to the last step. None:
    all values of one side are equal, or there are none.
    """
    mean = len(pairs) + 1  # of the doubled ranks
    first = [rank - mean for rank in _doubled_ranks([pair[0] for pair in pairs])]
    second = [rank - mean for rank in _doubled_ranks([pair[1] for pair in pairs])]
    spread = sum(x * x for x in first) * sum(y * y for y in second)
    if spread == 0:
        return None
    product = sum(x * y for x, y in zip(first, second, strict=True))
    return max(-1.0, min(1.0, product / math.sqrt(spread)))


def upper_bound(correlation: float, pairs: int) -> float:
    """Return the upper bound of a rank correlation found from ``pairs`` pairs: one-sided, 95 %.

    Raises:
        ValueError: fewer than 4 pairs say nothing.
    """
    if pairs < 4:
        raise ValueError(f"a bound needs at least 4 pairs, not {pairs}")
    if abs(correlation) >= 1:
        return correlation
    return math.tanh(math.atanh(correlation) + _NORMAL_95 * math.sqrt(1.06 / (pairs - 3)))


def spread_ratio(every: Sequence[float], chosen: Sequence[float]) -> float | None:
    """Return how much more widely the normal scores of all are spread than those of the chosen.

    It is the ratio of their standard deviations, after the losses of all were replaced by normal
    scores, equals sharing the mean of their ranks. 1 if all are equal; None if only the chosen
    are, of which there is at least one.
    """
    from statistics import NormalDist

    order, normal = sorted(every), NormalDist()

    def score(loss: float) -> float:
        below, not_above = bisect_left(order, loss), bisect_right(order, loss)
        return normal.inv_cdf((below + not_above) / (2 * len(order)))

    if order[0] == order[-1]:
        return 1.0
    if min(chosen) == max(chosen):
        return None
    return _deviation([score(loss) for loss in order]) / _deviation([*map(score, chosen)])


def unrestricted(correlation: float, ratio: float) -> float:
    """Return the correlation among all, from that among trials chosen by their first result.

    Args:
        correlation: Among the chosen.
        ratio: The standard deviation of all first results divided by that of the chosen.

    Correct where the second result depends linearly on the first, with the same scatter
    everywhere (Thorndike, "Personnel Selection", 1949, case 2).
    """
    slope = correlation * ratio
    return slope / math.sqrt(1 - correlation * correlation + slope * slope)


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _foretelling(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return the correlation, 0 when all were equal first and differ later; None: unknown."""
    correlation = rank_correlation(pairs)
    if correlation is None and any(pair[1] != pairs[0][1] for pair in pairs):
        return 0.0
    return correlation


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Return twice the rank of each value, counted from 1; equals share their mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for index in order[start:end]:
            ranks[index] = start + 1 + end
        start = end
    return ranks


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
