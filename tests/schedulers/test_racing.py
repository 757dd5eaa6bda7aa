"""The statistics of a race, against a worked example and scipy."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from slurmtune.schedulers.racing import (
    RaceTest,
    Table,
    conover_allowed,
    corrected,
    friedman,
    judge,
    means,
    midranks,
    paired_t_p,
    rank_sums,
    ranking,
    signed_rank_p,
)

WORKED = (
    (0.30, 0.32, 0.35, 0.50),
    (0.28, 0.33, 0.31, 0.52),
    (0.31, 0.30, 0.36, 0.49),
    (0.29, 0.34, 0.33, 0.55),
    (0.27, 0.31, 0.36, 0.51),
)
"""Five instances, four configs."""


def tables(
    least_columns: int = 3, most_columns: int = 6, values: st.SearchStrategy[float] | None = None
) -> st.SearchStrategy[list[list[float]]]:
    cells = values or st.integers(0, 4).map(float)
    return st.integers(least_columns, most_columns).flatmap(
        lambda width: st.lists(
            st.lists(cells, min_size=width, max_size=width), min_size=3, max_size=12
        )
    )


# ------------------------------------------------------------------ ranks


def test_equal_values_share_their_ranks() -> None:
    assert midranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def test_rank_sums_of_the_worked_example() -> None:
    assert rank_sums(WORKED) == (6, 11, 13, 20)


def test_ranking_is_by_rank_sum() -> None:
    assert ranking(((1.0, 2.0), (1.0, 2.0), (9.0, 2.0)), RaceTest.FRIEDMAN) == (0, 1)


def test_equal_rank_sums_are_ranked_by_mean() -> None:
    assert ranking(((1.0, 2.0), (9.0, 2.0)), RaceTest.FRIEDMAN) == (1, 0)


def test_equal_columns_are_ranked_in_their_order() -> None:
    assert ranking(((1.0, 1.0, 1.0),), RaceTest.FRIEDMAN) == (0, 1, 2)


def test_ranking_for_t_tests_is_by_mean() -> None:
    assert ranking(((1.0, 2.0), (1.0, 2.0), (9.0, 2.0)), RaceTest.T) == (1, 0)


def test_means_are_those_of_the_columns() -> None:
    assert means(((1.0, 2.0), (3.0, 6.0))) == (2.0, 4.0)


# ------------------------------------------------------------------ Friedman and Conover


def test_statistic_of_the_worked_example() -> None:
    assert friedman(WORKED).statistic == pytest.approx(12.12)


def test_p_value_of_the_worked_example() -> None:
    assert friedman(WORKED).p_value == pytest.approx(0.00698, abs=5e-6)


def test_allowed_difference_of_the_worked_example() -> None:
    assert conover_allowed(WORKED, 0.05) == pytest.approx(4.3576, abs=5e-5)


def test_only_the_best_of_the_worked_example_survives() -> None:
    assert judge(WORKED, RaceTest.FRIEDMAN, 0.05).worse == (1, 2, 3)


def test_note_tells_how_far_behind() -> None:
    notes = judge(WORKED, RaceTest.FRIEDMAN, 0.05).notes

    assert notes[3] == "rank sum 20 is 14 behind the best, 4.36 allowed"


def test_rule_names_the_level() -> None:
    assert judge(WORKED, RaceTest.FRIEDMAN, 0.01).rule == "Friedman test, p < 0.01"


@settings(deadline=None, max_examples=60)
@given(table=tables())
def test_friedman_agrees_with_scipy(table: list[list[float]]) -> None:
    assume(any(len(set(row)) > 1 for row in table))
    expected = stats.friedmanchisquare(*zip(*table, strict=True))

    result = friedman(table)

    assert result.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert result.p_value == pytest.approx(expected.pvalue, abs=1e-9)


def test_equal_results_differ_in_nothing() -> None:
    """The correction for ties leaves 0 / 0."""
    result = friedman([[1.0] * 4] * 5)

    assert (result.statistic, result.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("test", RaceTest)
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_nobody_is_worse_among_equals(test: RaceTest, columns: int) -> None:
    assert judge([[0.5] * columns] * 6, test, 0.05).worse == ()


@pytest.mark.parametrize("test", RaceTest)
def test_one_instance_proves_nothing(test: RaceTest) -> None:
    assert judge([[1.0, 2.0, 9.0]], test, 0.05).worse == ()


def test_instances_in_full_agreement_drop_all_but_the_best() -> None:
    """Without any disagreement nothing at all is allowed."""
    assert judge([[1.0, 2.0, 3.0]] * 5, RaceTest.FRIEDMAN, 0.05).worse == (1, 2)


def test_equals_of_the_best_survive_with_it() -> None:
    table = [[1.0, 1.0, 3.0, 4.0]] * 6

    assert judge(table, RaceTest.FRIEDMAN, 0.05).worse == (2, 3)


@settings(deadline=None, max_examples=60)
@given(table=tables(1), test=st.sampled_from(RaceTest), alpha=st.sampled_from((0.01, 0.05, 0.3)))
def test_the_best_is_never_worse(table: list[list[float]], test: RaceTest, alpha: float) -> None:
    judgement = judge(table, test, alpha)

    assert judgement.order[0] not in judgement.worse
    assert sorted(judgement.order) == list(range(len(table[0])))


@settings(deadline=None, max_examples=40)
@given(table=tables(3))
def test_order_of_instances_is_irrelevant(table: list[list[float]]) -> None:
    turned = list(reversed(table))

    one, other = (judge(rows, RaceTest.FRIEDMAN, 0.05) for rows in (table, turned))

    assert (one.order, one.worse) == (other.order, other.worse)


# ------------------------------------------------------------------ two left: Wilcoxon


def test_two_left_are_compared_by_signed_ranks() -> None:
    table = [[0.1 + 0.01 * n, 0.3 + 0.02 * n] for n in range(6)]
    judgement = judge(table, RaceTest.FRIEDMAN, 0.05)

    assert judgement.worse == (1,)
    assert judgement.rule == "Wilcoxon signed-rank test, p < 0.05"


def test_five_instances_are_too_few_for_two() -> None:
    """The least p-value of five differences is 2 / 2^5."""
    assert signed_rank_p([1.0, 2.0, 3.0, 4.0, 5.0]) == 0.0625
    assert judge([[1.0, 2.0]] * 5, RaceTest.FRIEDMAN, 0.05).worse == ()


def test_first_column_can_be_the_worse_one() -> None:
    table = [[0.3 + 0.02 * n, 0.1 + 0.01 * n] for n in range(6)]
    judgement = judge(table, RaceTest.FRIEDMAN, 0.05)

    assert (judgement.order, judgement.worse) == ((1, 0), (0,))


@settings(deadline=None, max_examples=60)
@given(
    signs=st.lists(st.booleans(), min_size=2, max_size=20),
)
def test_signed_ranks_agree_with_scipy(signs: list[bool]) -> None:
    values = [(n + 1.0) * (1 if sign else -1) for n, sign in enumerate(signs)]

    assert signed_rank_p(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.integers(-9, 9).filter(bool), min_size=51, max_size=80))
def test_signed_ranks_of_many_agree_with_scipy(values: list[int]) -> None:
    expected = stats.wilcoxon(values, correction=True, method="approx").pvalue

    assert signed_rank_p(values) == pytest.approx(expected, abs=1e-9)


def test_signed_ranks_with_ties_count_all_signs() -> None:
    """Of the 8 signs of (1, 1, 1), two are as one-sided as all above."""
    assert signed_rank_p([1.0, 1.0, 1.0]) == 0.25


def test_zero_differences_are_left_out() -> None:
    assert signed_rank_p([0.0, 1.0, 2.0]) == signed_rank_p([1.0, 2.0])


# ------------------------------------------------------------------ t-tests


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=12))
def test_paired_t_agrees_with_scipy(values: list[float]) -> None:
    assume(len(set(values)) > 1)

    assert paired_t_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-12)


@pytest.mark.parametrize(("values", "expected"), [([0.0, 0.0], 1.0), ([0.1, 0.1], 0.0)])
def test_differences_without_spread(values: Sequence[float], expected: float) -> None:
    assert paired_t_p(values) == expected


def test_no_correction_leaves_p_values() -> None:
    assert corrected([0.01, 0.04], RaceTest.T) == [0.01, 0.04]


def test_bonferroni_multiplies_by_the_count() -> None:
    assert corrected([0.01, 0.04, 0.5], RaceTest.T_BONFERRONI) == pytest.approx([0.03, 0.12, 1])


def test_holm_steps_down() -> None:
    """(0.01, 0.04, 0.03): 3 x 0.01, then 2 x 0.03, then no less than that."""
    assert corrected([0.01, 0.04, 0.03], RaceTest.T_HOLM) == pytest.approx([0.03, 0.06, 0.06])


MARGINAL = (
    (0.0, 0.10, 0.50),
    (0.0, 0.20, 0.60),
    (0.0, 0.05, 0.40),
    (0.0, -0.02, 0.70),
    (0.0, 0.12, 0.80),
)


@pytest.mark.parametrize(
    ("test", "worse"),
    [(RaceTest.T, (1, 2)), (RaceTest.T_HOLM, (1, 2)), (RaceTest.T_BONFERRONI, (2,))],
)
def test_bonferroni_drops_fewer_than_holm(test: RaceTest, worse: tuple[int, ...]) -> None:
    """p-values against the best: 0.0698 and 0.0011, at a level of 0.1."""
    assert judge(MARGINAL, test, 0.1).worse == worse


def test_t_test_names_itself_and_both_means() -> None:
    judgement = judge(WORKED, RaceTest.T_HOLM, 0.05)

    assert judgement.rule == "paired t-test with Holm's correction, p < 0.05"
    assert judgement.notes[3].startswith("mean loss 0.514, best loss 0.29, p = ")


def test_t_test_is_a_matter_of_size_not_of_rank() -> None:
    """One bad instance of seven hides in the ranks, and blows up the spread of a t-test."""
    table = [[1.0, 2.0, 3.0] for _ in range(7)]
    table[0][0] = 90.0

    assert judge(table, RaceTest.FRIEDMAN, 0.05).order == (0, 1, 2)
    assert judge(table, RaceTest.T, 0.05).order == (1, 2, 0)
    assert judge([row[:2] for row in table], RaceTest.T, 0.05).worse == ()


HUGE = [
    ((1e200, 1.0, 2.0), (2e200, 1.5, 2.0), (1.0, 2.0, 3.0)),
    ((1.7e308, 1.0, 2.0), (1.7e308, -1.7e308, 2.0), (1.0, 2.0, 3.0)),
]
"""Finite losses of trainings that diverged."""


@pytest.mark.parametrize("test", list(RaceTest))
@pytest.mark.parametrize("table", HUGE)
def test_huge_losses_are_judged_like_others(table: Table, test: RaceTest) -> None:
    """Neither their sums nor their squares are floats."""
    judgement = judge(table, test, 0.05)

    assert sorted(judgement.order) == [0, 1, 2]
    assert judgement.order[-1] == 0


def test_the_mean_of_huge_losses_is_finite() -> None:
    assert means([[1.7e308]] * 3) == pytest.approx([1.7e308])


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
def test_the_paired_t_test_does_not_depend_on_the_unit(unit: float) -> None:
    expected = paired_t_p([1.0, 2.0, 4.0, -0.5])

    assert paired_t_p([unit, 2 * unit, 4 * unit, -0.5 * unit]) == pytest.approx(expected)
