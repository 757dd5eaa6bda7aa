"""The statistics of a race: which configs are worse than the best, by more than chance explains.

Results form a table with one row for each instance (fold, seed, dataset) and one column for each
config; losses are minimised and finite. The tests are those of irace (Lopez-Ibanez et al.,
Operations Research Perspectives 3, 2016; Birattari 2009): Friedman's test with Conover's
comparison with the best (Conover, Practical Nonparametric Statistics, 1999, section 5.8), for two
configs Wilcoxon's signed-rank test, or paired t-tests with the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

_MAX_EXACT = 50
"""Up to so many differences the signed-rank distribution is counted, beyond it is normal."""

Table = Sequence[Sequence[float]]
"""Losses: a row for each instance, a column for each config."""


class RaceTest(Enum):
    """How a race finds the configs that are worse."""

    FRIEDMAN = "friedman"
    """Friedman and Conover; Wilcoxon's signed-rank test when two are left."""
    T = "t-test"
    """Paired t-tests with the best, each at the full level: drops most."""
    T_BONFERRONI = "t-test-bonferroni"
    T_HOLM = "t-test-holm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a test says of the columns of a table."""

    rule: str
    """The test in a few words: ``Friedman test, p < 0.05``."""
    order: tuple[int, ...]
    """Columns, best first: a strict order."""
    worse: tuple[int, ...]
    """Columns that are worse than the best, in that order."""
    notes: tuple[str, ...]
    """For each column how far it is behind the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Friedman:
    """Friedman's test: do the configs differ at all?"""

    rank_sums: tuple[float, ...]
    statistic: float
    """Chi-squared with k - 1 degrees of freedom; 0 when all results are equal."""
    p_value: float


def judge(table: Table, test: RaceTest, alpha: float) -> Judgement:
    """Return who is worse than the best at the level ``alpha``.

    With fewer than two instances or two configs nobody is.
    """
    order = ranking(table, test)
    if test is RaceTest.FRIEDMAN and len(order) == 2:
        return _judge_two(table, order, alpha)
    if test is RaceTest.FRIEDMAN:
        return _judge_ranks(table, order, alpha)
    return _judge_means(table, order, test, alpha)


def ranking(table: Table, test: RaceTest) -> tuple[int, ...]:
    """Return the columns, best first.

    By the sum of ranks, then the mean, then the column; for t-tests by mean, then column.
    """
    averages = means(table)
    if test is not RaceTest.FRIEDMAN:
        return tuple(sorted(range(len(averages)), key=lambda j: (averages[j], j)))
    sums = rank_sums(table)
    return tuple(sorted(range(len(sums)), key=lambda j: (sums[j], averages[j], j)))


def means(table: Table) -> tuple[float, ...]:
    """Return the mean of each column."""
    return tuple(mean(column) for column in zip(*table, strict=True))


def mean(values: Sequence[float]) -> float:
    """Return the mean of finite numbers, however large: their sum need not be a float."""
    count = len(values)
    shift = count.bit_length()
    # Powers of two: what is not so large has the same mean as without.
    return math.ldexp(math.fsum(math.ldexp(value, -shift) for value in values) / count, shift)


def midranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, from 1; equal values share the mean of theirs."""
    ranks = [0.0] * len(values)
    before = 0
    for _, group in groupby(
        sorted(range(len(values)), key=values.__getitem__), values.__getitem__
    ):
        members = list(group)
        for index in members:
            ranks[index] = before + (len(members) + 1) / 2
        before += len(members)
    return ranks


def rank_sums(table: Table) -> tuple[float, ...]:
    """Return for each column the sum of its ranks within the rows."""
    return tuple(math.fsum(column) for column in zip(*map(midranks, table), strict=True))


def friedman(table: Table) -> Friedman:
    """Return Friedman's test, corrected for ties, of at least two columns."""
    from scipy.special import chdtrc

    n, k = len(table), len(table[0])
    sums = rank_sums(table)
    spread = math.fsum((total - n * (k + 1) / 2) ** 2 for total in sums)
    # (u^3 - u) for every group of u equal values in a row.
    ties = sum(_tie_term(row) for row in table)
    scale = n * k * (k + 1) - ties / (k - 1)
    # Zero when every row is one tie: no difference at all.
    statistic = 12 * spread / scale if scale > 0 else 0.0
    return Friedman(rank_sums=sums, statistic=statistic, p_value=float(chdtrc(k - 1, statistic)))


def conover_allowed(table: Table, alpha: float) -> float:
    """Return how far a rank sum may be behind the best without being worse at level ``alpha``."""
    from scipy.special import stdtrit

    n, k = len(table), len(table[0])
    freedom = (n - 1) * (k - 1)
    squares = math.fsum(rank**2 for row in table for rank in midranks(row))
    rest = n * squares - math.fsum(total**2 for total in rank_sums(table))
    quantile = float(stdtrit(freedom, 1 - alpha / 2))
    return quantile * math.sqrt(2 * max(0.0, rest) / freedom)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test; zeros are left out.

    Up to 50 differences by counting all signs, also with ties (then it is the permutation test);
    beyond that by the normal distribution with corrections for ties and continuity.
    """
    real = [difference for difference in differences if difference != 0]
    n = len(real)
    if not n:
        return 1.0
    sizes = [abs(difference) for difference in real]
    ranks = midranks(sizes)
    above = math.fsum(rank for rank, value in zip(ranks, real, strict=True) if value > 0)
    less = min(above, n * (n + 1) / 2 - above)
    if n <= _MAX_EXACT:
        return min(1.0, 2 * _share_up_to(less, ranks))
    variance = n * (n + 1) * (2 * n + 1) / 24 - _tie_term(sizes) / 48
    distance = max(0.0, n * (n + 1) / 4 - less - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))


def paired_t_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of a paired t-test.

    Differences without any spread are 1 when they are zero, and 0 else; one alone is 1.
    """
    from scipy.special import stdtr

    n = len(differences)
    if n < 2:
        return 1.0
    # The squares of losses need not be floats; those of numbers up to 1 are.
    _, exponent = math.frexp(max(map(abs, differences)))
    scaled = [math.ldexp(difference, -exponent) for difference in differences]
    center = math.fsum(scaled) / n
    variance = math.fsum((value - center) ** 2 for value in scaled) / (n - 1)
    # What rounding leaves of equal differences is no spread.
    if variance <= (1e-12 * center) ** 2:
        return 1.0 if center == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(center) / math.sqrt(variance / n)))


def corrected(p_values: Sequence[float], test: RaceTest) -> list[float]:
    """Return p-values that allow for their number: Bonferroni's, or Holm's (1979)."""
    count = len(p_values)
    if test is RaceTest.T_BONFERRONI:
        return [min(1.0, count * p) for p in p_values]
    if test is not RaceTest.T_HOLM:
        return list(p_values)
    result = [0.0] * count
    least = 0.0
    for step, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        least = max(least, min(1.0, (count - step) * p_values[index]))
        result[index] = least
    return result


def _judge_ranks(table: Table, order: tuple[int, ...], alpha: float) -> Judgement:
    rule = f"Friedman test, p < {alpha:g}"
    if len(table) < 2 or len(order) < 2:
        return Judgement(rule=rule, order=order, worse=(), notes=("",) * len(order))
    result = friedman(table)
    sums = result.rank_sums
    best = sums[order[0]]
    if not result.p_value < alpha:
        notes = tuple(f"no differences found (p = {result.p_value:.2g})" for _ in order)
        return Judgement(rule=rule, order=order, worse=(), notes=notes)
    allowed = conover_allowed(table, alpha)
    # The order is by rank sum: from the first that is too far behind, all are.
    worse = tuple(column for column in order if sums[column] - best > allowed)
    notes = tuple(
        f"rank sum {total:g} is {total - best:g} behind the best, {allowed:.3g} allowed"
        for total in sums
    )
    return Judgement(rule=rule, order=order, worse=worse, notes=notes)


def _judge_two(table: Table, order: tuple[int, ...], alpha: float) -> Judgement:
    differences = [row[0] - row[1] for row in table]
    p_value = signed_rank_p(differences)
    worse: tuple[int, ...] = ()
    if p_value < alpha:
        # With differences as one-sided as this, their signed ranks say who is worse.
        worse = (0,) if _signed_rank_sum(differences) > 0 else (1,)
        order = (1 - worse[0], worse[0])
    notes = (f"p = {p_value:.2g} between the last two",) * 2
    rule = f"Wilcoxon signed-rank test, p < {alpha:g}"
    return Judgement(rule=rule, order=order, worse=worse, notes=notes)


def _judge_means(table: Table, order: tuple[int, ...], test: RaceTest, alpha: float) -> Judgement:
    best, *others = order
    # Half of a difference is finite for any two losses; the test does not depend on the unit.
    p_values = corrected(
        [paired_t_p([row[column] / 2 - row[best] / 2 for row in table]) for column in others],
        test,
    )
    averages = means(table)
    least = f"best loss {averages[best]:.6g}"
    notes = [f"mean loss {average:.6g}, {least}" for average in averages]
    for column, p_value in zip(others, p_values, strict=True):
        notes[column] += f", p = {p_value:.2g}"
    worse = [column for column, p in zip(others, p_values, strict=True) if p < alpha]
    return Judgement(
        rule=f"{_T_NAMES[test]}, p < {alpha:g}",
        order=order,
        worse=tuple(worse),
        notes=tuple(notes),
    )


_T_NAMES = {
    RaceTest.T: "paired t-test",
    RaceTest.T_BONFERRONI: "paired t-test with Bonferroni's correction",
    RaceTest.T_HOLM: "paired t-test with Holm's correction",
}


def _tie_term(values: Sequence[float]) -> int:
    sizes = (len(list(group)) for _, group in groupby(sorted(values)))
    return sum(size**3 - size for size in sizes)


def _share_up_to(limit: float, ranks: Sequence[float]) -> float:
    """Return the share of all choices of signs whose positive ranks sum to at most ``limit``."""
    # Midranks are halves: twice a rank is a whole number.
    doubled = [round(2 * rank) for rank in ranks]
    counts = [1] + [0] * sum(doubled)
    for rank in doubled:
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return sum(counts[: round(2 * limit) + 1]) / (1 << len(ranks))


def _signed_rank_sum(differences: Sequence[float]) -> float:
    real = [difference for difference in differences if difference != 0]
    ranks = midranks([abs(difference) for difference in real])
    return math.fsum(math.copysign(r, value) for r, value in zip(ranks, real, strict=True))
