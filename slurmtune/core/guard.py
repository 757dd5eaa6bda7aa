"""Notices rungs whose results are not worth what they cost.

Early results decide about trials only as far as they foretell later ones. When they do not, a rung
drops trials by lot; when reaching it takes as long as reaching the next, it saves nothing.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

LEAST_CORRELATION = 0.3
"""Below it, the results of a rung say nothing about those of the next."""
LEAST_PAIRS = 20
"""Trials with results at both rungs that are needed to judge the correlation."""
MOST_SHARE = 0.8
"""A rung that takes this share of the time of the next is not cheaper."""
LEAST_TIMED = 10
"""Trials that are needed to judge the times."""
_NORMAL_95 = 1.6448536269514722
"""95 % of a standard normal distribution lie below."""
_GROWTH = 1.1
"""A correlation is computed anew when the pairs grew by this factor."""


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
    correlation: float | None = None
    """Spearman's rank correlation between the results of the two rungs."""
    bound: float | None = None
    """Upper bound of the correlation, one-sided, 95 %."""
    share: float | None = None
    """Median time to reach the rung, as a share of the median time to reach the next."""

    def __str__(self) -> str:
        if self.share is not None:
            return (
                f"rung {self.rung} saves little: reaching it takes {self.share:.0%} of the time "
                f"that reaching rung {self.next_rung} takes (medians of {self.trials} trials)"
            )
        group = "trials that all run to the end" if self.control else "trials that went on"
        return (
            f"the results at rung {self.rung} say little about those at rung {self.next_rung}: "
            f"rank correlation {self.correlation:.2f} over {self.trials} {group}, with 95 % "
            f"confidence below {self.bound:.2f}"
        )


@dataclass(slots=True)
class _Pairs:
    """Losses at a rung and at the next, of one group of trials."""

    losses: list[tuple[float, float]] = field(default_factory=list)
    due: int = LEAST_PAIRS
    """The number of pairs from which on they are looked at again."""

    def take_due(self) -> bool:
        """Tell whether to look at the pairs now; the next time is when there are more."""
        if len(self.losses) < self.due:
            return False
        self.due = math.ceil(len(self.losses) * _GROWTH)
        return True


@dataclass(slots=True)
class _Step:
    """What is known of the trials that went from one rung to the next."""

    everyone: _Pairs = field(default_factory=_Pairs)
    control: _Pairs = field(default_factory=_Pairs)
    seconds: list[float] = field(default_factory=list)
    """Of each trial up to the rung, sorted; and up to the next."""
    next_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Result:
    rung: int
    loss: float | None
    seconds: float


class RungGuard:
    """Is told of every finished rung, and finds rungs that are not worth their cost.

    **Says nothing.** Over at least `LEAST_PAIRS` trials with finite losses at a rung and at the
    next one that they finished: the upper bound of Spearman's rank correlation lies below
    `LEAST_CORRELATION`. The bound is one-sided, 95 %, from Fisher's z with the variance
    ``1.06 / (n - 3)`` (Fieller, Hartley and Pearson, "Tests for rank correlation coefficients I",
    Biometrika 1957).

    Trials that went on were chosen by the very results that are judged. Among the chosen the
    correlation is weaker than among all: when the best third of normally distributed results goes
    on, 0.5 becomes 0.29, and 0.7 becomes 0.46. A finding from such trials therefore says that the
    rung does not tell the good ones apart, not that it cannot tell good from bad. That is why
    trials of a control group, which go on whatever their results, are judged alone as soon as
    there are `LEAST_PAIRS` of them.

    The pairs are looked at again each time that there are 10 % more, so that the chance of a wrong
    finding within a whole study is more than 5 % for a correlation of just `LEAST_CORRELATION`.

    **Not cheaper.** Over at least `LEAST_TIMED` trials that finished both rungs: the median time
    to reach the rung is `MOST_SHARE` of the median time to reach the next, or more. Only trials
    that finished both count, since the trials that go on may be the slow ones. All times are from
    nothing, so that loading data or compiling counts in both.

    Each rung is found at most once for each kind. A note costs O(log n), amortised, apart from
    moving memory.
    """

    def __init__(self) -> None:
        self._last: dict[int, _Result] = {}
        self._steps: dict[tuple[int, int], _Step] = {}
        self._known: set[tuple[int, FindingKind]] = set()
        self._new: list[Finding] = []

    def note(
        self, trial: int, rung: int, loss: float | None, seconds: float, *, control: bool
    ) -> None:
        """Trial ``trial`` finished ``rung``; what is not above its last rung changes nothing.

        Args:
            trial: Number of the trial.
            rung: The rung that it finished.
            loss: Its loss there; None or not finite: it counts with its time only.
            seconds: Seconds of training from nothing up to this rung, in all its attempts.
            control: Whether it goes on whatever its results.
        """
        last = self._last.get(trial)
        if last is not None and rung <= last.rung:
            return
        if loss is not None and not math.isfinite(loss):
            loss = None
        self._last[trial] = _Result(rung, loss, seconds)
        if last is None:
            return
        step = self._steps.setdefault((last.rung, rung), _Step())
        if last.loss is not None and loss is not None:
            step.everyone.losses.append((last.loss, loss))
            if control:
                step.control.losses.append((last.loss, loss))
            self._judge_results(last.rung, rung, step)
        if 0 <= last.seconds < math.inf and 0 <= seconds < math.inf:
            insort(step.seconds, last.seconds)
            insort(step.next_seconds, seconds)
            self._judge_times(last.rung, rung, step)

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found since the last call."""
        found, self._new = tuple(self._new), []
        return found

    def _judge_results(self, rung: int, next_rung: int, step: _Step) -> None:
        is_control = len(step.control.losses) >= LEAST_PAIRS
        pairs = step.control if is_control else step.everyone
        if (rung, FindingKind.SAYS_NOTHING) in self._known or not pairs.take_due():
            return
        correlation = _foretelling(pairs.losses)
        if correlation is None:
            return
        bound = upper_bound(correlation, len(pairs.losses))
        if bound < LEAST_CORRELATION:
            self._found(
                Finding(
                    rung=rung,
                    next_rung=next_rung,
                    kind=FindingKind.SAYS_NOTHING,
                    trials=len(pairs.losses),
                    control=is_control,
                    correlation=correlation,
                    bound=bound,
                )
            )

    def _judge_times(self, rung: int, next_rung: int, step: _Step) -> None:
        if (rung, FindingKind.NOT_CHEAPER) in self._known or len(step.seconds) < LEAST_TIMED:
            return
        whole = _median(step.next_seconds)
        if whole <= 0:
            return
        share = _median(step.seconds) / whole
        if share >= MOST_SHARE:
            self._found(
                Finding(
                    rung=rung,
                    next_rung=next_rung,
                    kind=FindingKind.NOT_CHEAPER,
                    trials=len(step.seconds),
                    share=share,
                )
            )

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


def _median(ordered: Sequence[float]) -> float:
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
