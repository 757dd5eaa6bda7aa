"""The strict order of one rung."""

from __future__ import annotations

import math

from slurmtune.schedulers.rung import Rung


def filled(*losses: float | None) -> Rung:
    rung = Rung()
    for trial, loss in enumerate(losses):
        rung.add(trial, loss)
    return rung


def test_best_come_first() -> None:
    assert filled(3.0, 1.0, 2.0).best(2) == [1, 2]


def test_equals_stand_in_the_order_of_arrival() -> None:
    assert filled(*[1.0] * 9).best(3) == [0, 1, 2]


def test_failed_trials_count_and_rank_last() -> None:
    rung = filled(None, 5.0, math.nan)

    assert rung.size == 3
    assert [rung.place(2), rung.place(1)] == [2, 0]


def test_failed_trials_are_never_among_the_best() -> None:
    assert filled(None, 5.0, math.nan).best(3) == [1]


def test_a_trial_is_found_with_its_loss() -> None:
    rung = filled(None, 5.0)

    assert [rung.loss(0), rung.loss(1)] == [None, 5.0]
    assert [rung.loss_at(0), rung.loss_at(1)] == [5.0, None]
    assert 1 in rung
    assert 2 not in rung
