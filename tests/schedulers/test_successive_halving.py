"""Synchronous successive halving: the worked example, failures, and stages that close early."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from slurmtune.core.events import Resource
from slurmtune.core.ports import Promote, Scheduler, Standing, StartTrial
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.scheduler_contract import (
    MOVES,
    Move,
    SchedulerContract,
    Walk,
    execute,
)

WORKED = [5, 3, 8, 1, 9, 2, 7, 4, 6, 12, 0.5, 10, 11, 13, 1.5, *range(14, 26)]
"""Losses of c1 to c27."""


class TestSuccessiveHalvingContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return SuccessiveHalving((1, 3, 9), 3, 9)


class TestSuccessiveHalvingWithFactorTwoContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return SuccessiveHalving((1, 2, 4), 2, 13)


def stages(
    losses: Sequence[float],
    *,
    levels: Sequence[Resource],
    workers: int = 3,
    trials: int | None = None,
) -> list[list[int]]:
    """Return the trials of every stage in the order of their starts; c1 is 1."""
    execution = execute(
        SuccessiveHalving(levels, 3, trials or len(losses)),
        lambda trial, rung: losses[trial],
        workers=workers,
        trials=len(losses),
    )
    return [
        [start.trial + 1 for start in execution.starts if start.rung == rung]
        for rung in range(len(levels))
    ]


def complete_first_stage(
    losses: Sequence[float | None],
    *,
    trials: int | None = None,
    levels: Sequence[Resource] = (1, 3, 9),
) -> SuccessiveHalving:
    scheduler = SuccessiveHalving(levels, 3, trials or len(losses))
    for trial, loss in enumerate(losses):
        assert scheduler.decide(may_start=True) == StartTrial()
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)
    return scheduler


def test_nine_trials() -> None:
    assert stages(WORKED[:9], levels=(1, 3, 9)) == [list(range(1, 10)), [4, 6, 2], [4]]


def test_ten_trials() -> None:
    assert stages(WORKED[:10], levels=(1, 3, 9)) == [list(range(1, 11)), [4, 6, 2], [4]]


def test_twenty_seven_trials() -> None:
    assert stages(WORKED, levels=(1, 3, 9, 27)) == [
        list(range(1, 28)),
        [11, 4, 15, 6, 2, 8, 1, 9, 7],
        [11, 4, 15],
        [11],
    ]


@pytest.mark.parametrize("workers", [1, 2, 4, 9, 100])
def test_workers_change_nothing(workers: int) -> None:
    assert stages(WORKED, levels=(1, 3, 9, 27), workers=workers)[1:] == [
        [11, 4, 15, 6, 2, 8, 1, 9, 7],
        [11, 4, 15],
        [11],
    ]


@pytest.mark.parametrize(
    ("level", "trials", "cost"), [((1, 3, 9), 9, 21), ((3, 9), 9, 45), ((9,), 9, 81)]
)
def test_cost_of_the_published_layout(level: Sequence[Resource], trials: int, cost: int) -> None:
    """9, 3, 1 trials at 1, 3, 9; what resuming saves of 27, 54 and 81 units from scratch."""
    execution = execute(
        SuccessiveHalving(level, 3, trials), lambda trial, rung: trial, workers=1, trials=trials
    )

    assert execution.end == cost


def test_nobody_is_promoted_before_the_stage_is_complete() -> None:
    scheduler = SuccessiveHalving((1, 3, 9), 3, 9)
    for trial in range(9):
        scheduler.started(trial, 0)
    for trial in range(8):
        scheduler.finished(trial, 0, trial)
    assert scheduler.decide(may_start=True) is None
    scheduler.finished(8, 0, None)

    assert scheduler.decide(may_start=True) == Promote(trial=0, rung=1)


def test_only_valid_trials_fill_the_next_stage() -> None:
    scheduler = complete_first_stage([None, 2.0, None, None, 1.0, None, None, None, None])
    decisions = [scheduler.decide(may_start=True) for _ in range(3)]

    assert [Promote(trial=4, rung=1), Promote(trial=1, rung=1), None] == decisions


def test_failures_do_not_shrink_the_stage_after_next() -> None:
    """One valid trial of nine goes on to the end."""
    scheduler = complete_first_stage([None] * 8 + [1.0])
    assert scheduler.decide(may_start=False) == Promote(trial=8, rung=1)
    scheduler.finished(8, 1, 1.0)

    assert scheduler.decide(may_start=False) == Promote(trial=8, rung=2)


def test_a_stage_that_fails_ends_it() -> None:
    scheduler = complete_first_stage([1.0] * 9)
    for _ in range(3):
        decision = scheduler.decide(may_start=False)
        assert isinstance(decision, Promote)
        scheduler.finished(decision.trial, 1, None)

    assert all(scheduler.decide(may_start=False) is None for _ in range(3))


def test_a_study_with_fewer_trials_closes_the_first_stage() -> None:
    assert stages(WORKED[:9], levels=(1, 3, 9), trials=27) == [
        list(range(1, 10)),
        [4, 6, 2],
        [4],
    ]


def test_a_closed_stage_starts_no_more_trials() -> None:
    scheduler = complete_first_stage(WORKED[:9], trials=27)
    assert scheduler.decide(may_start=False) == Promote(trial=3, rung=1)

    assert scheduler.decide(may_start=True) == Promote(trial=5, rung=1)
    with pytest.raises(ValueError, match="closed"):
        scheduler.started(9, 0)


def test_a_stage_with_running_trials_is_not_closed() -> None:
    """May_start can be False for a while; what is started then still belongs to the stage."""
    scheduler = complete_first_stage(WORKED[:8], trials=9)
    scheduler.started(8, 0)
    assert scheduler.decide(may_start=False) is None
    scheduler.finished(8, 0, 0.1)

    assert scheduler.decide(may_start=False) == Promote(trial=8, rung=1)


def test_too_few_for_the_ladder_still_train_the_best_to_the_end() -> None:
    assert stages([3.0, 1.0], levels=(1, 3, 9), trials=9) == [[1, 2], [2], [2]]


def test_an_empty_study_closes_nothing() -> None:
    scheduler = SuccessiveHalving((1, 3), 3, 3)
    assert scheduler.decide(may_start=False) is None

    assert scheduler.decide(may_start=True) == StartTrial()


def test_too_few_trials_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="at least 9 are needed"):
        SuccessiveHalving((1, 3, 9), 3, 8)


def outlook(scheduler: SuccessiveHalving, trial: int, rung: int = 0) -> str:
    standing = scheduler.standing(trial, rung)
    assert standing is not None
    return standing.outlook


def test_standing_while_the_first_stage_takes_trials() -> None:
    scheduler = SuccessiveHalving((1, 3, 9), 3, 9)
    for trial in range(3):
        scheduler.started(trial, 0)
    scheduler.finished(0, 0, 0.5)

    assert scheduler.standing(0, 0) == Standing(
        rule="the best 1/3 of the stage go on when it is complete",
        size=1,
        place=0,
        places=0,
        outlook="decided when all trials of the stage have been started and have finished it",
    )
    assert scheduler.standing(1, 0) is None
    assert scheduler.standing(3, 0) is None


def test_standing_in_a_stage_that_is_not_complete() -> None:
    scheduler = complete_first_stage(WORKED[:9])
    assert scheduler.decide(may_start=False) == Promote(trial=3, rung=1)
    scheduler.finished(3, 1, 0.75)

    assert scheduler.standing(3, 1) == Standing(
        rule="the best of the stage goes on when it is complete",
        size=1,
        place=0,
        places=0,
        outlook="decided when 2 more of the stage have finished",
    )


def test_standing_in_a_complete_stage() -> None:
    """Nobody asked for a decision yet: who goes on is known all the same."""
    scheduler = complete_first_stage(WORKED[:9])

    assert scheduler.standing(5, 0) == Standing(
        rule="the best 3 of the stage go on when it is complete",
        size=9,
        place=1,
        places=3,
        cutoff=3,
        outlook="waits for a free slot",
    )
    assert outlook(scheduler, 7) == "never: the stage is complete and better ones went on"


def test_standing_of_a_promoted_trial() -> None:
    scheduler = complete_first_stage(WORKED[:9])
    scheduler.decide(may_start=False)

    assert outlook(scheduler, 3) == ""


def test_standing_of_a_failed_trial() -> None:
    scheduler = complete_first_stage([*WORKED[:8], None])

    assert outlook(scheduler, 8) == "never: it failed or has no finite result"


def test_standing_at_the_last_rung() -> None:
    scheduler = complete_first_stage([1.0, 2.0, 3.0], levels=(1, 3))
    scheduler.decide(may_start=False)
    scheduler.finished(0, 1, 0.5)

    assert scheduler.standing(0, 1) == Standing(
        rule="this is the last rung", size=1, place=0, places=0
    )


def test_who_is_behind_those_that_go_on_is_spare_before_the_stage_is_complete() -> None:
    scheduler = SuccessiveHalving((1, 3, 9), 3, 9)
    for trial in range(9):
        scheduler.started(trial, 0)
    for trial in range(4):
        scheduler.finished(trial, 0, -trial)

    assert scheduler.spare(9) == [(0, 0)]
    assert scheduler.spare(9) == []


def test_what_was_gone_on_from_is_spare() -> None:
    scheduler = complete_first_stage([1.0, 2.0, 3.0], levels=(1, 3))
    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=1)
    assert scheduler.spare(3) == [(2, 0), (1, 0)]
    scheduler.finished(0, 1, 0.5)

    assert scheduler.spare(3) == [(0, 0), (0, 1)]


def test_no_rung_can_be_dropped() -> None:
    assert not SuccessiveHalving((1, 3, 9), 3, 9).drop(1)


@settings(max_examples=80, deadline=None)
@given(moves=MOVES)
def test_the_best_of_every_stage_go_on_and_at_the_end_all_is_spare(moves: list[Move]) -> None:
    walk = Walk(SuccessiveHalving((1, 2, 4), 2, 13)).follow(moves).drain()
    count = len(walk.brackets)
    for rung in range(2):
        places = max(1, count // 2 ** (rung + 1))
        best = {trial for trial, loss in walk.ranking(rung)[:places] if loss is not None}

        assert best == walk.above(rung)
    walk.collect()
    assert walk.spared == walk.results.keys()
