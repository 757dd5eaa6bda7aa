"""Rung ladders and bracket sizes, exact: integers and fractions are multiplied, no logarithms.

``floor(log(243, 3))`` is 4 in floating point, so that a ladder from 1 to 243 computed with a
logarithm lacks a rung. Here a float stands for the decimal number that it is written as: 0.1 is a
tenth, and 0.1 tripled four times is 8.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from slurmtune.core.events import Resource


@dataclass(frozen=True, slots=True)
class BracketPlan:
    """How many trials of one bracket are trained up to which resource, if none fails."""

    levels: tuple[Resource, ...]
    """Resource of each rung, increasing."""
    sizes: tuple[int, ...]
    """Trials at each rung."""

    @property
    def trials(self) -> int:
        """Configs that enter the bracket."""
        return self.sizes[0]

    @property
    def evaluations(self) -> int:
        """Rungs that are trained, summed over all trials."""
        return sum(self.sizes)

    @property
    def cost_from_scratch(self) -> Resource:
        """Resource spent when every rung is trained from the start again."""
        spent = (size * exact(level) for size, level in zip(self.sizes, self.levels, strict=True))
        return _plain(sum(spent, Fraction()), whole=_are_whole(self.levels))

    @property
    def cost_resumed(self) -> Resource:
        """Resource spent when every rung goes on from the checkpoint of the one below."""
        below: tuple[Resource, ...] = (0, *self.levels[:-1])
        spent = (
            size * (exact(level) - exact(start))
            for size, level, start in zip(self.sizes, self.levels, below, strict=True)
        )
        return _plain(sum(spent, Fraction()), whole=_are_whole(self.levels))


def exact(value: Resource) -> Fraction:
    """Return ``value`` as the decimal number that it is written as: 0.1 becomes 1/10.

    Raises:
        ValueError: ``value`` is not a finite number.
    """
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"a resource must be a finite number, not {value!r}")
    return Fraction(str(value))


def max_rung(minimum: Resource, maximum: Resource, reduction_factor: int) -> int:
    """Return the largest s with ``minimum * reduction_factor**s <= maximum``.

    This is s_max of Hyperband (Li et al. 2018, Alg. 1), the number of the ladder's last rung.

    Raises:
        ValueError: the resources are not positive and in order, or the factor is below 2.
    """
    lowest, highest = _checked_range(minimum, maximum)
    check_reduction_factor(reduction_factor)
    rung = 0
    level = lowest * reduction_factor
    while level <= highest:
        rung += 1
        level *= reduction_factor
    return rung


def rung_levels(
    minimum: Resource, maximum: Resource, reduction_factor: int
) -> tuple[Resource, ...]:
    """Return the resource of each rung: ``minimum * reduction_factor**k``, lastly ``maximum``.

    There are ``max_rung + 1`` rungs. When ``maximum`` lies between two powers, the last rung below
    it is moved up to ``maximum``: 1, 3, 9, 27, 100 for a factor of 3, rather than 81 and then 100.
    A rung that keeps one trial in three, to train the kept ones only a quarter longer, would cost
    a queue wait and almost the whole training for a comparison that says little; and the number of
    rungs and of brackets stays that of the published algorithms.

    When ``maximum`` is less than ``minimum * reduction_factor``, there is one rung, at
    ``maximum``. Levels are integers when both ends are, else floats.

    Raises:
        ValueError: the resources are not positive and in order, or the factor is below 2.
    """
    top = max_rung(minimum, maximum, reduction_factor)
    lowest = exact(minimum)
    levels = [lowest * reduction_factor**rung for rung in range(top)]
    whole = _are_whole((minimum, maximum))
    return tuple(_plain(level, whole=whole) for level in (*levels, exact(maximum)))


def explicit_levels(levels: Sequence[Resource]) -> tuple[Resource, ...]:
    """Return the ladder that a user wrote out, all integers or all floats.

    Raises:
        ValueError: it is empty, or not positive and increasing from each rung to the next.
    """
    if not levels:
        raise ValueError("rungs must hold at least one resource")
    exact_levels = [exact(level) for level in levels]
    if exact_levels[0] <= 0:
        raise ValueError(f"rungs must be positive, but begin with {levels[0]!r}")
    for number in range(1, len(levels)):
        if exact_levels[number] <= exact_levels[number - 1]:
            raise ValueError(
                f"rungs must increase, but {levels[number]!r} follows {levels[number - 1]!r}"
            )
    whole = _are_whole(levels)
    return tuple(_plain(level, whole=whole) for level in exact_levels)


def halving_sizes(trials: int, rungs: int, reduction_factor: int) -> tuple[int, ...]:
    """Return how many of ``trials`` are trained at each rung: ``trials // reduction_factor**k``.

    Raises:
        ValueError: a count is below 1, or the factor is below 2.
    """
    check_reduction_factor(reduction_factor)
    if trials < 1 or rungs < 1:
        raise ValueError(f"trials and rungs must be at least 1, not {trials} and {rungs}")
    return tuple(trials // reduction_factor**rung for rung in range(rungs))


def halving_plan(levels: Sequence[Resource], reduction_factor: int, trials: int) -> BracketPlan:
    """Return the plan of successive halving with ``trials`` configs on this ladder.

    Raises:
        ValueError: the ladder, the factor or the number of trials is wrong.
    """
    checked = explicit_levels(levels)
    return BracketPlan(checked, halving_sizes(trials, len(checked), reduction_factor))


def bracket_table(levels: Sequence[Resource], reduction_factor: int) -> tuple[BracketPlan, ...]:
    """Return the brackets of Hyperband on this ladder, the one with the most trials first.

    Bracket b begins at rung b of the ladder. With s = s_max - b it holds
    ``ceil((s_max + 1) * reduction_factor**s / (s + 1))`` trials (Li et al. 2018, Alg. 1).

    Raises:
        ValueError: the ladder or the factor is wrong.
    """
    checked = explicit_levels(levels)
    check_reduction_factor(reduction_factor)
    rungs = len(checked)
    plans = []
    for bracket in range(rungs):
        halvings = rungs - 1 - bracket
        trials = -(-(rungs * reduction_factor**halvings) // (halvings + 1))
        plans.append(halving_plan(checked[bracket:], reduction_factor, trials))
    return tuple(plans)


def leading_brackets(
    plans: Sequence[BracketPlan], brackets: int | None
) -> tuple[BracketPlan, ...]:
    """Return the first ``brackets`` of Hyperband's, or all when None.

    Raises:
        ValueError: there are not so many, or none is wanted.
    """
    if brackets is None:
        return tuple(plans)
    if not 1 <= brackets <= len(plans):
        raise ValueError(
            f"brackets must be between 1 and {len(plans)}, one for each rung, not {brackets}"
        )
    return tuple(plans[:brackets])


def hyperband_brackets(
    minimum: Resource, maximum: Resource, reduction_factor: int
) -> tuple[BracketPlan, ...]:
    """Return the brackets of Hyperband on the ladder of `rung_levels`; see `bracket_table`.

    Raises:
        ValueError: the resources are not positive and in order, or the factor is below 2.
    """
    return bracket_table(rung_levels(minimum, maximum, reduction_factor), reduction_factor)


def dehb_brackets(
    levels: Sequence[Resource], reduction_factor: int, brackets: int | None = None
) -> tuple[BracketPlan, ...]:
    """Return the brackets of one iteration, the one with the most trials first.

    Bracket b begins at rung b of the ladder. With s = s_max - b it holds
    ``(s_max + 1) // (s + 1) * reduction_factor**s`` configs at first, and i rungs higher
    ``reduction_factor**i`` times fewer, but at least 1 (the sizes of DEHB and HpBandSter; those of
    the Hyperband paper are `bracket_table`).

    Args:
        levels: Resource of each rung.
        reduction_factor: Of the sizes from rung to rung.
        brackets: Only so many; None: one for each rung.

    Raises:
        ValueError: the ladder, the factor or the number of brackets is wrong.
    """
    checked = explicit_levels(levels)
    check_reduction_factor(reduction_factor)
    rungs = len(checked)
    if brackets is not None and not 1 <= brackets <= rungs:
        raise ValueError(
            f"brackets must be from 1 to {rungs}, the number of rungs, not {brackets!r}"
        )
    plans = []
    for bracket in range(brackets or rungs):
        above = rungs - 1 - bracket
        first = rungs // (above + 1) * reduction_factor**above
        sizes = dehb_sizes(first, above + 1, reduction_factor)
        plans.append(BracketPlan(checked[bracket:], sizes))
    return tuple(plans)


def dehb_sizes(first: int, rungs: int, reduction_factor: int) -> tuple[int, ...]:
    """Return the evaluations at each rung of a bracket of DEHB that begins with ``first``."""
    return tuple(max(first // reduction_factor**rung, 1) for rung in range(rungs))


def check_reduction_factor(reduction_factor: object) -> None:
    """Let an integer of at least 2 pass.

    Raises:
        ValueError: it is something else.
    """
    # True is an int to Python, and below 2.
    if not isinstance(reduction_factor, int) or reduction_factor < 2:
        raise ValueError(
            f"reduction_factor must be an integer of at least 2, not {reduction_factor!r}"
        )


def _checked_range(minimum: Resource, maximum: Resource) -> tuple[Fraction, Fraction]:
    lowest, highest = exact(minimum), exact(maximum)
    if lowest <= 0:
        raise ValueError(f"min_resource must be positive, not {minimum!r}")
    if highest < lowest:
        raise ValueError(
            f"max_resource must be at least min_resource, but {maximum!r} is less than {minimum!r}"
        )
    return lowest, highest


def _are_whole(values: Iterable[Resource]) -> bool:
    return all(isinstance(value, int) for value in values)


def _plain(value: Fraction, *, whole: bool) -> Resource:
    return int(value) if whole else float(value)
