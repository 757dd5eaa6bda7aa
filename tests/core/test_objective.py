"""Losses and the strict order of results."""

from __future__ import annotations

import math

import pytest

from slurmtune.core.objective import Goal, Objective, ranking_key

LOSS = Objective("val_loss")
ACCURACY = Objective("val_acc", Goal.MAXIMIZE)


def test_a_minimised_value_is_its_loss() -> None:
    assert LOSS.loss(0.25) == 0.25


def test_a_maximised_value_is_negated() -> None:
    assert ACCURACY.loss(0.25) == -0.25


def test_zero_has_no_sign() -> None:
    zero = ACCURACY.loss(0.0)

    assert zero is not None
    assert math.copysign(1, zero) == 1


@pytest.mark.parametrize("objective", [LOSS, ACCURACY])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_loss(objective: Objective, value: float | None) -> None:
    assert objective.loss(value) is None


@pytest.mark.parametrize("objective", [LOSS, ACCURACY])
@pytest.mark.parametrize("value", [None, 0.0, 1.5, -3.0])
def test_the_value_comes_back_from_the_loss(objective: Objective, value: float | None) -> None:
    assert objective.value(objective.loss(value)) == value


def test_order_is_loss_then_finish_then_trial_and_failures_last() -> None:
    results: list[tuple[float | None, int, int]] = [
        (0.5, 0, 3),
        (0.5, 0, 4),
        (0.5, 2, 1),
        (2.0, 1, 0),
        (None, 0, 2),
        (math.nan, 3, 0),
    ]

    mixed = [results[place] for place in (5, 2, 0, 4, 1, 3)]

    assert results == sorted(mixed, key=lambda result: ranking_key(*result))


def test_goals_are_words_of_the_spec() -> None:
    assert [Goal("minimize"), Goal("maximize")] == list(Goal)
