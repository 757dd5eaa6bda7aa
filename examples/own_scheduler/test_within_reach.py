"""Tests of the scheduler: those that every scheduler must pass, and its own.

python -m pytest test_within_reach.py
"""

from __future__ import annotations

from within_reach import WithinReach

from slurmtune.core.ports import Promote, Scheduler, StartTrial
from slurmtune.testing.scheduler_contract import SchedulerContract


class TestContract(SchedulerContract):
    """Thousands of random studies: nobody is promoted twice, or after a failure, and so on."""

    def make_scheduler(self) -> Scheduler:
        return WithinReach(levels=(1, 3, 9), reduction_factor=3, slack=1.0, least=3)


def rung_of(*losses: float) -> WithinReach:
    scheduler = WithinReach(levels=(1, 3), reduction_factor=3, slack=0.1, least=3)
    for trial, loss in enumerate(losses):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)
    return scheduler


def test_whoever_is_near_the_best_goes_on() -> None:
    scheduler = rung_of(0.55, 0.5, 0.7)
    decisions = [scheduler.decide(may_start=False) for _ in range(3)]
    assert decisions == [Promote(trial=1, rung=1), Promote(trial=0, rung=1), None]


def test_nobody_goes_on_before_a_few_have_finished() -> None:
    assert rung_of(0.5, 0.5).decide(may_start=True) == StartTrial()


def test_a_promotion_is_explained() -> None:
    standing = rung_of(0.55, 0.5, 0.7).standing(2, 0)
    assert standing is not None
    assert (standing.place, standing.places, standing.cutoff) == (2, 2, 0.6)
