"""Full training of every trial."""

from __future__ import annotations

import pytest

from slurmtune.core.ports import StartTrial
from slurmtune.schedulers.single import SingleRung
from slurmtune.testing.scheduler_contract import ContractScheduler, SchedulerContract, execute


class TestSingleRungContract(SchedulerContract):
    def make_scheduler(self) -> ContractScheduler:
        return SingleRung()


class TestSingleRungWithLevelContract(SchedulerContract):
    def make_scheduler(self) -> ContractScheduler:
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


def test_explanations() -> None:
    scheduler = SingleRung()
    for trial in range(3):
        scheduler.started(trial, 0)
    scheduler.finished(0, 0, 0.5)
    scheduler.finished(1, 0, None)

    assert "loss 0.5, place 1 of 2" in scheduler.explain(0)
    assert "failed" in scheduler.explain(1)
    assert "being trained" in scheduler.explain(2)
    assert "never started" in scheduler.explain(3)
