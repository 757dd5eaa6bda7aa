"""The strict order of one rung."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from slurmtune.schedulers.rung import Rung, Tail


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


@given(losses=st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=12))
def test_who_is_within_the_best_is_told_by_the_place(losses: list[int | None]) -> None:
    rung = filled(*losses)
    for trial, places in itertools.product(range(len(losses)), range(len(losses) + 2)):
        assert rung.is_within(trial, places) is (rung.place(trial) < places)


def test_results_are_listed_best_first() -> None:
    rung = Rung()
    for trial, loss in ((7, 2.0), (3, None), (5, 1.0)):
        rung.add(trial, loss)

    assert rung.results() == [(5, 1.0), (7, 2.0), (3, None)]


def test_the_cutoff_is_the_loss_of_the_last_place() -> None:
    rung = Rung()
    for trial, loss in enumerate((2.0, 1.0, None)):
        rung.add(trial, loss)

    assert [rung.cutoff(places) for places in range(5)] == [None, 1.0, 2.0, None, None]


def with_tail(*losses: float) -> tuple[Rung, Tail]:
    rung = Rung()
    tail = Tail(rung)
    for trial, loss in enumerate(losses):
        tail.add(rung.add(trial, loss))
    return rung, tail


def test_who_is_behind_the_last_place_is_out_and_told_once() -> None:
    _, tail = with_tail(4.0, 1.0, 3.0, 2.0)

    assert tail.cut(2) == [0, 2]
    assert tail.cut(2) == []
    assert tail.cut(1) == [3]
    assert tail.out == 3


def test_of_equals_the_later_is_out() -> None:
    assert with_tail(1.0, 1.0, 1.0)[1].cut(1) == [2, 1]


def test_who_was_promoted_is_not_out() -> None:
    _, tail = with_tail(1.0, 2.0, 3.0)
    tail.leave(2)

    assert tail.cut(1) == [1]
    assert tail.out == 1


def test_whoever_is_back_is_not_told_again() -> None:
    rung, tail = with_tail(1.0, 2.0, 3.0)
    assert tail.cut(2) == [2]
    tail.restore()
    assert tail.out == 0
    tail.add(rung.add(3, 2.5))

    assert tail.cut(3) == []
    assert tail.cut(2) == [3]
    assert tail.out == 2
