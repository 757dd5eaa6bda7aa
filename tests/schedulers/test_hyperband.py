"""Hyperband against the tables of the paper: sizes, costs, order, brackets without end."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings

from slurmtune.core.ports import Promote, Scheduler, StartTrial
from slurmtune.core.resource import hyperband_brackets, rung_levels
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.scheduler_contract import (
    MOVES,
    Execution,
    Move,
    SchedulerContract,
    Walk,
    execute,
)

Range = tuple[int, int, int]


class TestHyperbandContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Hyperband((1, 3, 9), 3)


class TestHyperbandWithFactorTwoContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Hyperband((1, 2, 4), 2, brackets=2)


def run(arguments: Range, *, trials: int, workers: int = 1) -> Execution:
    source = random.Random(7)
    losses = [source.random() for _ in range(trials)]
    return execute(
        Hyperband(rung_levels(*arguments), arguments[2]),
        lambda trial, rung: losses[trial] - rung,
        workers=workers,
        trials=trials,
    )


def sizes(execution: Execution, arguments: Range, brackets: int) -> list[list[int]]:
    """Return how many trials were trained at each rung of each bracket."""
    counts = Counter((start.bracket, start.rung) for start in execution.starts)
    rungs = len(rung_levels(*arguments))
    return [
        [counts[bracket, rung] for rung in range(bracket % rungs, rungs)]
        for bracket in range(brackets)
    ]


def start_and_finish(scheduler: Scheduler, trial: int, loss: float | None) -> StartTrial:
    decision = scheduler.decide(may_start=True)
    assert isinstance(decision, StartTrial)
    scheduler.started(trial, decision.bracket)
    scheduler.finished(trial, decision.rung, loss)
    return decision


TABLES: dict[Range, tuple[list[list[int]], int, int]] = {
    (1, 81, 3): ([[81, 27, 9, 3, 1], [34, 11, 3, 1], [15, 5, 1], [8, 2], [5]], 206, 1581),
    (1, 27, 3): ([[27, 9, 3, 1], [12, 4, 1], [6, 2], [4]], 69, 357),
    (1, 16, 2): ([[16, 8, 4, 2, 1], [10, 5, 2, 1], [7, 3, 1], [5, 2], [5]], 72, 278),
    (1, 64, 4): ([[64, 16, 4, 1], [22, 5, 1], [8, 2], [4]], 127, 884),
    (1, 243, 3): (
        [[243, 81, 27, 9, 3, 1], [98, 32, 10, 3, 1], [41, 13, 4, 1], [18, 6, 2], [9, 3], [6]],
        611,
        6831,
    ),
}
"""Sizes, evaluations and the cost when rungs go on from checkpoints."""


@pytest.mark.parametrize("arguments", TABLES)
def test_one_iteration_is_the_table(arguments: Range) -> None:
    table, evaluations, cost = TABLES[arguments]
    execution = run(arguments, trials=sum(stages[0] for stages in table))

    assert table == sizes(execution, arguments, len(table))
    assert evaluations == len(execution.starts)
    assert cost == execution.end


@pytest.mark.parametrize("workers", [2, 7, 50, 500])
def test_workers_change_no_size(workers: int) -> None:
    table, _, _ = TABLES[1, 81, 3]

    assert table == sizes(run((1, 81, 3), trials=143, workers=workers), (1, 81, 3), 5)


def test_brackets_repeat() -> None:
    table, _, _ = TABLES[1, 27, 3]

    assert table * 2 == sizes(run((1, 27, 3), trials=98, workers=5), (1, 27, 3), 8)


@pytest.mark.parametrize("maximum", [50, 100, 200])
def test_a_maximum_between_two_powers_changes_no_size(maximum: int) -> None:
    arguments = (1, maximum, 3)
    plans = hyperband_brackets(*arguments)
    execution = run(arguments, trials=sum(plan.trials for plan in plans), workers=4)

    assert [list(plan.sizes) for plan in plans] == sizes(execution, arguments, len(plans))


def test_the_bracket_with_the_most_trials_comes_first() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    found = []
    for trial in range(17):
        decision = scheduler.decide(may_start=True)
        assert isinstance(decision, StartTrial)
        scheduler.started(trial, decision.bracket)
        found.append((decision.bracket, decision.rung))

    assert found == [(0, 0)] * 9 + [(1, 1)] * 5 + [(2, 2)] * 3
    assert scheduler.decide(may_start=True) == StartTrial(bracket=3, rung=0)


def test_the_next_bracket_starts_while_the_one_before_is_not_complete() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    for trial in range(8):
        start_and_finish(scheduler, trial, float(trial))
    assert scheduler.decide(may_start=True) == StartTrial(bracket=0, rung=0)
    scheduler.started(8, 0)

    assert scheduler.decide(may_start=True) == StartTrial(bracket=1, rung=1)


def test_promotions_of_earlier_brackets_come_before_new_trials() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    for trial in range(8):
        start_and_finish(scheduler, trial, float(trial))
    scheduler.decide(may_start=True)
    scheduler.started(8, 0)
    assert start_and_finish(scheduler, 9, 0.0).bracket == 1
    scheduler.finished(8, 0, -1.0)

    assert [scheduler.decide(may_start=True) for _ in range(4)] == [
        Promote(trial=8, rung=1),
        Promote(trial=0, rung=1),
        Promote(trial=1, rung=1),
        StartTrial(bracket=1, rung=1),
    ]


def test_of_two_brackets_with_promotions_the_earlier_goes_first() -> None:
    """The best of bracket 1 is better than all of bracket 0, which does not matter."""
    scheduler = Hyperband((1, 3, 9), 3)
    for trial in range(9):
        scheduler.decide(may_start=True)
        scheduler.started(trial, 0)
    for trial in range(9, 14):
        start_and_finish(scheduler, trial, -float(trial))
    for trial in range(9):
        scheduler.finished(trial, 0, float(trial))

    assert [scheduler.decide(may_start=True) for _ in range(4)] == [
        *(Promote(trial=trial, rung=1) for trial in range(3)),
        Promote(trial=13, rung=2),
    ]


def test_a_bracket_without_enough_trials_goes_on_with_those_it_has() -> None:
    """Nine and two of five: the better of the two is trained to the end."""
    execution = run((1, 9, 3), trials=11)

    assert sizes(execution, (1, 9, 3), 2) == [[9, 3, 1], [2, 1]]


def test_a_bracket_is_not_closed_while_a_trial_is_on_its_way() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    start_and_finish(scheduler, 0, 1.0)
    scheduler.decide(may_start=True)
    scheduler.started(1, 0)
    assert scheduler.decide(may_start=False) is None
    scheduler.finished(1, 0, 0.5)

    assert scheduler.decide(may_start=False) == Promote(trial=1, rung=1)


def test_after_a_bracket_was_closed_early_the_next_one_begins() -> None:
    """When the limit of the study was raised later."""
    scheduler = Hyperband((1, 3, 9), 3)
    start_and_finish(scheduler, 0, 1.0)
    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=1)

    assert scheduler.decide(may_start=True) == StartTrial(bracket=1, rung=1)


def test_a_bracket_whose_trials_all_fail_ends() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    for trial in range(9):
        start_and_finish(scheduler, trial, None)

    assert scheduler.decide(may_start=True) == StartTrial(bracket=1, rung=1)
    assert scheduler.decide(may_start=False) is None


def test_the_ladder_is_the_same_in_every_bracket() -> None:
    scheduler = Hyperband((1, 3, 9), 3)

    assert [scheduler.ladder(bracket) for bracket in (0, 2, 1000)] == [(1, 3, 9)] * 3
    with pytest.raises(ValueError, match="no bracket -1"):
        scheduler.ladder(-1)


def test_a_trial_joins_only_the_bracket_that_takes_trials() -> None:
    with pytest.raises(ValueError, match="bracket 0 takes trials"):
        Hyperband((1, 3, 9), 3).started(0, 1)


def test_a_trial_is_started_once() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    scheduler.started(0, 0)
    with pytest.raises(ValueError, match="before"):
        scheduler.started(0, 0)


@pytest.mark.parametrize("brackets", [0, 4])
def test_there_are_as_many_layouts_as_rungs(brackets: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 3"):
        Hyperband((1, 3, 9), 3, brackets=brackets)


def test_no_rung_can_be_dropped() -> None:
    assert not Hyperband((1, 3, 9), 3).drop(0)


def test_a_standing_counts_the_trials_of_the_bracket() -> None:
    scheduler = Hyperband((1, 3, 9), 3)
    for trial in range(14):
        decision = scheduler.decide(may_start=True)
        while isinstance(decision, Promote):
            decision = scheduler.decide(may_start=True)
        assert decision is not None
        scheduler.started(trial, decision.bracket)
        scheduler.finished(trial, decision.rung, float(trial))
    standing = scheduler.standing(9, 1)

    assert standing is not None
    assert (standing.size, standing.place, standing.places) == (5, 0, 1)
    assert [trial for trial, _ in scheduler.compared(9, 1)] == [9, 10, 11, 12, 13]


@settings(max_examples=40, deadline=None)
@given(moves=MOVES)
def test_the_first_bracket_is_successive_halving(moves: list[Move]) -> None:
    one = Walk(Hyperband((1, 3, 9), 3), trials=9).follow(moves).drain()
    other = Walk(SuccessiveHalving((1, 3, 9), 3, 9), trials=9).follow(moves).drain()

    assert one.decisions == other.decisions


@settings(max_examples=60, deadline=None)
@given(moves=MOVES)
def test_the_best_of_every_stage_go_on_and_at_the_end_all_is_spare(moves: list[Move]) -> None:
    """In any order of arrival, with failures, and when the last bracket is not full."""
    walk = Walk(Hyperband((1, 2, 4), 2)).follow(moves).drain()
    for bracket in set(walk.brackets.values()):
        first = bracket % 3
        count = sum(home == bracket for home in walk.brackets.values())
        for rung in range(first, 2):
            places = max(1, count // 2 ** (rung + 1 - first))
            here = walk.ranking(rung, bracket)[:places]
            assert {t for t, loss in here if loss is not None} == walk.above(rung, bracket)
    walk.collect()

    assert walk.spared == walk.results.keys()
