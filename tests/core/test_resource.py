"""Ladders and bracket sizes against the published tables and exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.events import Resource
from slurmtune.core.resource import (
    bracket_table,
    explicit_levels,
    halving_plan,
    halving_sizes,
    hyperband_brackets,
    leading_brackets,
    max_rung,
    rung_levels,
)

Range = tuple[Resource, Resource, int]

LADDERS: list[tuple[Range, tuple[Resource, ...]]] = [
    ((1, 81, 3), (1, 3, 9, 27, 81)),
    ((1, 243, 3), (1, 3, 9, 27, 81, 243)),
    ((1, 729, 3), (1, 3, 9, 27, 81, 243, 729)),
    ((1, 1000, 10), (1, 10, 100, 1000)),
    ((0.1, 8.1, 3), (0.1, 0.3, 0.9, 2.7, 8.1)),
    ((1, 100, 3), (1, 3, 9, 27, 100)),
    ((1, 200, 3), (1, 3, 9, 27, 200)),
    ((1, 50, 3), (1, 3, 9, 50)),
    ((1, 64, 4), (1, 4, 16, 64)),
    ((2, 54, 3), (2, 6, 18, 54)),
    ((1, 9, 3), (1, 3, 9)),
    ((5, 5, 3), (5,)),
    ((2, 5, 3), (5,)),
    ((1.0, 9, 3), (1.0, 3.0, 9.0)),
]


@pytest.mark.parametrize(("arguments", "levels"), LADDERS)
def test_ladder(arguments: Range, levels: Sequence[Resource]) -> None:
    result = rung_levels(*arguments)

    assert levels == result
    assert [type(level) for level in levels] == [type(level) for level in result]


@pytest.mark.parametrize(("arguments", "levels"), LADDERS)
def test_the_last_rung_has_the_number_max_rung(
    arguments: Range, levels: Sequence[Resource]
) -> None:
    assert len(levels) - 1 == max_rung(*arguments)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("power", range(13))
def test_max_rung_of_a_power_is_its_exponent(factor: int, power: int) -> None:
    assert power == max_rung(1, factor**power, factor)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("power", range(1, 13))
def test_max_rung_just_below_a_power_is_one_less(factor: int, power: int) -> None:
    assert power - 1 == max_rung(1, factor**power - 1, factor)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("power", range(13))
@pytest.mark.parametrize("minimum", [1, 2])
def test_the_ladder_of_a_power_has_every_power_below(
    factor: int, power: int, minimum: int
) -> None:
    expected = tuple(minimum * factor**k for k in range(power + 1))

    assert expected == rung_levels(minimum, minimum * factor**power, factor)


@pytest.mark.parametrize("minimum", ["0.1", "0.3", "0.001", "2.5"])
@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("power", range(13))
def test_the_ladder_of_a_decimal_has_the_floats_of_its_decimals(
    minimum: str, factor: int, power: int
) -> None:
    """0.1 * 3 is 0.30000000000000004 for floats."""
    exact = [Fraction(minimum) * factor**k for k in range(power + 1)]

    assert rung_levels(float(minimum), float(exact[-1]), factor) == tuple(map(float, exact))


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("top", range(13))
def test_hyperband_sizes_are_those_of_the_formula_in_fractions(factor: int, top: int) -> None:
    """``n = ceil((s_max + 1) * factor**s / (s + 1))``, then the floor of ``n / factor**i``."""
    expected = []
    for s in range(top, -1, -1):
        first = ceil(Fraction((top + 1) * factor**s, s + 1))
        expected.append(tuple(floor(Fraction(first, factor**i)) for i in range(s + 1)))

    assert expected == [plan.sizes for plan in hyperband_brackets(1, factor**top, factor)]


@pytest.mark.parametrize(
    ("levels", "trials", "sizes", "unit_costs"),
    [((1, 3, 9), 9, (9, 3, 1), 9), ((3, 9), 9, (9, 3), 27), ((9,), 9, (9,), 81)],
)
def test_the_published_layout_of_successive_halving(
    levels: Sequence[Resource], trials: int, sizes: tuple[int, ...], unit_costs: int
) -> None:
    """Each stage costs the same: 9, 27 or 81 units from scratch."""
    plan = halving_plan(levels, 3, trials)

    assert plan.sizes == sizes
    assert [size * level for size, level in zip(sizes, levels, strict=True)] == [
        unit_costs for _ in levels
    ]
    assert plan.cost_from_scratch == unit_costs * len(levels)


@pytest.mark.parametrize("minimum", ["0.1", "0.3", "0.001", "2.5", "1e-05"])
@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("power", range(13))
def test_max_rung_takes_floats_as_decimals(minimum: str, factor: int, power: int) -> None:
    maximum = float(Fraction(minimum) * factor**power)

    assert power == max_rung(float(minimum), maximum, factor)


@given(
    minimum=st.integers(1, 1000),
    extra=st.integers(0, 10**9),
    factor=st.integers(2, 12),
)
def test_integer_ladders_increase_from_minimum_to_maximum(
    minimum: int, extra: int, factor: int
) -> None:
    levels = rung_levels(minimum, minimum + extra, factor)

    assert levels[-1] == minimum + extra
    assert all(type(level) is int for level in levels)
    assert all(low * factor <= high for low, high in pairwise(levels))
    assert levels[0] == minimum or len(levels) == 1


@given(
    minimum=st.floats(1e-6, 10, allow_nan=False),
    ratio=st.floats(1, 1e6),
    factor=st.integers(2, 12),
)
def test_float_ladders_increase_and_end_at_the_maximum(
    minimum: float, ratio: float, factor: int
) -> None:
    levels = rung_levels(minimum, minimum * ratio, factor)

    assert levels[-1] == minimum * ratio
    assert list(levels) == sorted(set(levels))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 9, 3), "min_resource must be positive"),
        ((-1, 9, 3), "min_resource must be positive"),
        ((9, 1, 3), "max_resource must be at least min_resource"),
        ((1, 9, 1), "reduction_factor must be an integer of at least 2"),
        ((1, 9, 2.5), "at least 2, not 2.5"),
        ((1, 9, True), "at least 2, not True"),
        ((1, float("nan"), 3), "finite"),
        ((1, float("inf"), 3), "finite"),
        ((True, 9, 3), "finite number"),
    ],
)
def test_a_wrong_ladder_is_refused_in_words(arguments: Range, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rung_levels(*arguments)


def test_explicit_levels_are_kept() -> None:
    assert explicit_levels([2, 5, 40]) == (2, 5, 40)


def test_explicit_levels_become_floats_when_one_is() -> None:
    levels = explicit_levels([1, 2.5, 10])

    assert levels == (1.0, 2.5, 10.0)
    assert {type(level) for level in levels} == {float}


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([], "at least one"),
        ([0, 1], "positive"),
        ([1, 3, 3], "3 follows 3"),
        ([1, 9, 3], "3 follows 9"),
        ([1, float("nan")], "finite"),
    ],
)
def test_wrong_explicit_levels_are_refused_in_words(
    levels: Sequence[Resource], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        explicit_levels(levels)


HYPERBAND: dict[Range, tuple[list[tuple[int, ...]], tuple[int, ...]]] = {
    (1, 81, 3): (
        [(81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,)],
        (143, 206, 1902, 1581),
    ),
    (1, 27, 3): ([(27, 9, 3, 1), (12, 4, 1), (6, 2), (4,)], (49, 69, 423, 357)),
    (1, 16, 2): (
        [(16, 8, 4, 2, 1), (10, 5, 2, 1), (7, 3, 1), (5, 2), (5,)],
        (43, 72, 372, 278),
    ),
    (1, 64, 4): ([(64, 16, 4, 1), (22, 5, 1), (8, 2), (4,)], (98, 127, 1000, 884)),
    (1, 243, 3): (
        [(243, 81, 27, 9, 3, 1), (98, 32, 10, 3, 1), (41, 13, 4, 1), (18, 6, 2), (9, 3), (6,)],
        (415, 611, 8457, 6831),
    ),
}


@pytest.mark.parametrize("arguments", HYPERBAND)
def test_hyperband_sizes(arguments: Range) -> None:
    sizes, _ = HYPERBAND[arguments]

    assert sizes == [plan.sizes for plan in hyperband_brackets(*arguments)]


@pytest.mark.parametrize("arguments", HYPERBAND)
def test_hyperband_totals(arguments: Range) -> None:
    """Configs, evaluations, and the costs from scratch and resumed."""
    _, expected = HYPERBAND[arguments]
    plans = hyperband_brackets(*arguments)
    totals = (
        sum(plan.trials for plan in plans),
        sum(plan.evaluations for plan in plans),
        sum(plan.cost_from_scratch for plan in plans),
        sum(plan.cost_resumed for plan in plans),
    )

    assert expected == totals


def test_hyperband_costs_by_bracket() -> None:
    plans = hyperband_brackets(1, 81, 3)

    assert [plan.cost_from_scratch for plan in plans] == [405, 363, 351, 378, 405]
    assert [plan.cost_resumed for plan in plans] == [297, 276, 279, 324, 405]


def test_hyperband_bracket_begins_at_its_own_rung() -> None:
    assert [plan.levels for plan in hyperband_brackets(1, 9, 3)] == [(1, 3, 9), (3, 9), (9,)]


@pytest.mark.parametrize(
    ("maximum", "sizes"),
    [
        (50, [(27, 9, 3, 1), (12, 4, 1), (6, 2), (4,)]),
        (100, [(81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,)]),
        (200, [(81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,)]),
    ],
)
def test_a_maximum_between_two_powers_moves_the_last_rung_only(
    maximum: int, sizes: list[tuple[int, ...]]
) -> None:
    plans = hyperband_brackets(1, maximum, 3)

    assert sizes == [plan.sizes for plan in plans]
    assert {plan.levels[-1] for plan in plans} == {maximum}


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("rungs", range(1, 9))
def test_every_bracket_trains_a_trial_to_the_end(factor: int, rungs: int) -> None:
    """A float logarithm or power loses one: its last stage would be empty."""
    plans = hyperband_brackets(1, factor ** (rungs - 1), factor)

    assert len(plans) == rungs
    assert all(plan.sizes[-1] >= 1 for plan in plans)


def test_leading_brackets() -> None:
    plans = hyperband_brackets(1, 9, 3)

    assert leading_brackets(plans, None) == plans
    assert leading_brackets(plans, 2) == plans[:2]


@pytest.mark.parametrize("brackets", [0, 4])
def test_a_wrong_number_of_brackets_is_refused(brackets: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 3"):
        leading_brackets(hyperband_brackets(1, 9, 3), brackets)


def test_costs_of_decimal_levels_are_exact() -> None:
    plan = halving_plan((0.1, 0.3), 3, 3)

    assert plan.cost_from_scratch == 0.6
    assert plan.cost_resumed == 0.5


def test_brackets_of_an_explicit_ladder() -> None:
    plans = bracket_table((2, 5, 40), 3)

    assert [plan.sizes for plan in plans] == [(9, 3, 1), (5, 1), (3,)]


@pytest.mark.parametrize("factor", range(2, 11))
@pytest.mark.parametrize("power", range(8))
def test_a_power_is_halved_down_to_one(factor: int, power: int) -> None:
    """A float power loses a trial here, for example at 343 = 7**3."""
    expected = tuple(factor**k for k in range(power, -1, -1))

    assert expected == halving_sizes(factor**power, power + 1, factor)


def test_sizes_round_down_once() -> None:
    assert halving_sizes(34, 4, 3) == (34, 11, 3, 1)


@pytest.mark.parametrize("arguments", [(0, 3, 3), (9, 0, 3), (9, 3, 1)])
def test_wrong_sizes_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        halving_sizes(*arguments)
