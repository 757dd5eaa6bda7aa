"""ASHA's stopping variant: one decision on arrival."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slurmtune.core.events import Resource
from slurmtune.core.ports import Scheduler, Standing, StartTrial
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.testing.scheduler_contract import SchedulerContract


class TestAshaStoppingContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return AshaStopping((1, 3, 9), 3)


class TestAshaStoppingWithOneRungContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return AshaStopping((9,), 3)


def started(count: int, levels: Sequence[Resource] = (1, 3, 9)) -> AshaStopping:
    scheduler = AshaStopping(levels, 3)
    for trial in range(count):
        scheduler.started(trial, 0)
    return scheduler


def survivors(losses: Sequence[float | None]) -> list[int]:
    """Return who goes on when these arrive at rung 0 one after the other."""
    scheduler = started(len(losses))
    return [trial for trial, loss in enumerate(losses) if not scheduler.stops(trial, 0, loss)]


def test_best_first_only_the_first_survives() -> None:
    assert survivors(range(9)) == [0]


def test_worst_first_all_survive() -> None:
    """Every arrival is the best so far: inherent in deciding once."""
    assert survivors(range(9, 0, -1)) == list(range(9))


def test_equals_survive_by_their_order_of_arrival() -> None:
    """Arrival n among n equals has place n, and of n only ``max(1, n // 3)`` go on."""
    assert survivors([1.0] * 9) == [0]


def test_second_of_six_goes_on() -> None:
    assert survivors([1, 3, 4, 5, 6, 2]) == [0, 5]


def test_a_failure_is_stopped_even_as_the_first() -> None:
    assert survivors([None, 1.0]) == [1]


def test_a_nan_is_stopped() -> None:
    assert survivors([float("nan"), 1.0]) == [1]


def test_failures_count() -> None:
    """The sixth arrival makes two places."""
    assert survivors([1.0, None, None, None, None, 2.0]) == [0, 5]


def test_rungs_are_compared_separately() -> None:
    scheduler = started(2)
    assert not scheduler.stops(0, 0, 5.0)
    assert not scheduler.stops(1, 0, 4.0)
    assert not scheduler.stops(1, 1, 4.0)

    assert scheduler.stops(0, 1, 4.5)


def test_the_first_answer_stands() -> None:
    scheduler = started(2)
    assert not scheduler.stops(0, 0, 5.0)
    assert not scheduler.stops(1, 0, 4.0)

    assert not scheduler.stops(0, 0, 100.0)


def test_a_stopped_trial_does_not_count_at_later_rungs() -> None:
    """It may pass one before it sees that it must leave."""
    scheduler = started(3)
    scheduler.stops(0, 0, 1.0)
    assert scheduler.stops(1, 0, 2.0)
    assert scheduler.stops(1, 1, 0.0)

    assert not scheduler.stops(0, 1, 1.0)


def test_nothing_stops_at_the_last_rung() -> None:
    scheduler = started(2, levels=(1,))
    scheduler.finished(0, 0, 1.0)

    assert not scheduler.stops(1, 0, 2.0)


def test_a_failure_on_the_way_counts_at_the_next_rung() -> None:
    """The study says that the attempt, meant for the last rung, failed."""
    scheduler = started(7)
    scheduler.stops(0, 0, 1.0)
    for trial in range(1, 5):
        scheduler.finished(trial, 2, None)

    assert not scheduler.stops(5, 0, 2.0)
    assert scheduler.standing(1, 0) is not None
    assert scheduler.standing(1, 2) is None


def test_trials_run_through() -> None:
    scheduler = started(0)

    assert scheduler.runs_through
    assert scheduler.decide(may_start=True) == StartTrial()
    assert scheduler.decide(may_start=False) is None


def test_results_of_unknown_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="never started"):
        started(0).stops(0, 0, 1.0)


def test_results_off_the_ladder_are_refused() -> None:
    with pytest.raises(ValueError, match="rung 3"):
        started(1).stops(0, 3, 1.0)


RULE = "on arrival the best 1/3 of the rung run on, at least one"


def test_standing_is_that_on_arrival() -> None:
    """The better one that came later changes nothing."""
    scheduler = started(2)
    scheduler.stops(0, 0, 2.0)
    scheduler.stops(1, 0, 1.0)

    assert scheduler.standing(0, 0) == Standing(rule=RULE, size=1, place=0, places=1, cutoff=2.0)
    assert scheduler.standing(0, 1) is None


def test_standing_of_a_stopped_trial() -> None:
    scheduler = started(2)
    scheduler.stops(0, 0, 1.0)
    scheduler.stops(1, 0, 2.0)

    assert scheduler.standing(1, 0) == Standing(
        rule=RULE,
        size=2,
        place=1,
        places=1,
        cutoff=1.0,
        outlook="never: it was stopped on arrival",
    )


def test_standing_of_a_failed_trial() -> None:
    scheduler = started(1)
    scheduler.finished(0, 2, None)
    standing = scheduler.standing(0, 0)

    assert standing is not None
    assert standing.place is None
    assert standing.outlook == "never: it failed or has no finite result"


def test_standing_at_the_last_rung() -> None:
    scheduler = started(1)
    for rung in range(3):
        scheduler.stops(0, rung, 1.0)

    assert scheduler.standing(0, 2) == Standing(
        rule="this is the last rung", size=1, place=0, places=0
    )


def test_a_rung_is_compared_best_first() -> None:
    scheduler = started(2)
    scheduler.stops(0, 0, 2.0)
    scheduler.stops(1, 0, 1.0)

    assert scheduler.compared(0, 0) == [(1, 1.0), (0, 2.0)]
    assert scheduler.compared(7, 0) == ()


def test_a_trial_that_ended_is_spare_at_all_its_rungs() -> None:
    """A running one may have to be repeated from any."""
    scheduler = started(2)
    scheduler.stops(0, 0, 2.0)
    scheduler.stops(1, 0, 1.0)
    scheduler.stops(0, 1, 2.0)
    assert scheduler.spare(9) == []
    scheduler.stops(1, 1, 3.0)

    assert scheduler.spare(9) == [(1, 0), (1, 1)]
    assert scheduler.spare(9) == []


def test_a_trial_is_started_once() -> None:
    with pytest.raises(ValueError, match="before"):
        started(1).started(0, 0)


# ------------------------------------------------------------------- rungs that are left out


def test_at_a_dropped_rung_everyone_with_a_result_runs_on() -> None:
    scheduler = started(9)
    assert scheduler.drop(0)

    assert not any(scheduler.stops(trial, 0, float(trial)) for trial in range(8))
    assert scheduler.stops(8, 0, None)


def test_after_a_dropped_rung_the_next_one_compares() -> None:
    scheduler = started(9)
    scheduler.drop(0)
    for trial in range(9):
        scheduler.stops(trial, 0, 0.0)

    assert [trial for trial in range(9) if not scheduler.stops(trial, 1, float(trial))] == [0]


def test_who_was_stopped_before_the_rung_was_dropped_stays_stopped() -> None:
    scheduler = started(2)
    scheduler.stops(0, 0, 1.0)
    assert scheduler.stops(1, 0, 2.0)
    scheduler.drop(0)

    assert scheduler.stops(1, 0, 2.0)


def test_a_new_trial_is_meant_for_the_first_rung_that_counts() -> None:
    scheduler = started(0)
    scheduler.drop(0)

    assert scheduler.decide(may_start=True) == StartTrial(rung=1)


def test_standing_at_a_dropped_rung() -> None:
    scheduler = started(2)
    scheduler.drop(0)
    scheduler.stops(0, 0, 1.0)
    scheduler.stops(1, 0, 2.0)

    assert scheduler.standing(1, 0) == Standing(
        rule="the rung was left out: everyone with a result runs on", size=2, place=1, places=2
    )


@pytest.mark.parametrize("rung", [-1, 2, 3])
def test_the_last_rung_and_one_that_is_not_there_cannot_be_dropped(rung: int) -> None:
    assert not started(0).drop(rung)
