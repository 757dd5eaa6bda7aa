"""Full training of every trial."""

from __future__ import annotations

import pytest

from slurmtune.core.ports import Scheduler, Standing, StartTrial
from slurmtune.schedulers.single import SingleRung
from slurmtune.testing.scheduler_contract import SchedulerContract, execute


class TestSingleRungContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return SingleRung()


class TestSingleRungWithLevelContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return SingleRung(9)


def test_without_a_resource_the_level_is_none() -> None:
    assert SingleRung().ladder(0) == (None,)


def test_with_a_resource_the_level_is_it() -> None:
    assert SingleRung(9).ladder(0) == (9,)


def test_a_level_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        SingleRung(0)


def test_trials_are_started_as_long_as_they_may() -> None:
    scheduler = SingleRung()

    assert scheduler.decide(may_start=True) == StartTrial()
    assert scheduler.decide(may_start=False) is None


def test_every_trial_is_trained_to_the_end() -> None:
    execution = execute(SingleRung(9), lambda trial, rung: trial, workers=2, trials=4)

    assert [start.time for start in execution.starts] == [0, 0, 9, 9]
    assert execution.end == 18


def test_a_trial_that_was_never_started_cannot_finish() -> None:
    with pytest.raises(ValueError, match="never started"):
        SingleRung().finished(0, 0, 1.0)


def test_there_is_no_rung_above() -> None:
    scheduler = SingleRung()
    scheduler.started(0, 0)
    with pytest.raises(ValueError, match="only rung 0"):
        scheduler.finished(0, 1, 1.0)


def test_a_trial_is_started_once() -> None:
    scheduler = SingleRung()
    scheduler.started(0, 0)
    with pytest.raises(ValueError, match="before"):
        scheduler.started(0, 0)


def test_there_is_one_bracket() -> None:
    with pytest.raises(ValueError, match="bracket 0"):
        SingleRung().ladder(1)
    with pytest.raises(ValueError, match="bracket 0"):
        SingleRung().started(0, 1)


def test_no_trial_is_stopped() -> None:
    with pytest.raises(ValueError, match="whatever its loss"):
        SingleRung().stops(0, 0, 1.0)


def with_results() -> SingleRung:
    scheduler = SingleRung()
    for trial, loss in enumerate((0.5, None, 0.25)):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)
    scheduler.started(3, 0)
    return scheduler


def test_standing_is_the_place_among_those_that_are_done() -> None:
    assert with_results().standing(0, 0) == Standing(
        rule="every trial is trained to the end", size=3, place=1, places=0
    )


def test_a_failed_trial_has_no_place() -> None:
    standing = with_results().standing(1, 0)

    assert standing is not None
    assert standing.place is None


@pytest.mark.parametrize(("trial", "rung"), [(3, 0), (4, 0), (0, 1)])
def test_what_is_not_finished_has_no_standing(trial: int, rung: int) -> None:
    assert with_results().standing(trial, rung) is None


def test_all_results_are_compared() -> None:
    assert with_results().compared(3, 0) == [(2, 0.25), (0, 0.5), (1, None)]
    assert with_results().compared(4, 0) == ()


def test_what_is_done_is_spare() -> None:
    scheduler = with_results()

    assert scheduler.spare(9) == [(0, 0), (1, 0), (2, 0)]
    assert scheduler.spare(9) == []
