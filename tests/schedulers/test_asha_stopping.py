"""ASHA's stopping variant: one decision on arrival."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slurmtune.core.events import Resource
from slurmtune.core.ports import StartTrial
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.testing.scheduler_contract import ContractScheduler, SchedulerContract


class TestAshaStoppingContract(SchedulerContract):
    def make_scheduler(self) -> ContractScheduler:
        return AshaStopping((1, 3, 9), 3)


class TestAshaStoppingWithOneRungContract(SchedulerContract):
    def make_scheduler(self) -> ContractScheduler:
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
    assert "failed" in scheduler.explain(1)
    assert "rung 0" in scheduler.explain(1)
    assert "rung 2" not in scheduler.explain(1)


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


def test_explanations() -> None:
    scheduler = started(2)
    scheduler.stops(0, 0, 1.0)
    scheduler.stops(1, 0, 2.0)
    scheduler.stops(0, 1, 0.5)
    scheduler.finished(0, 2, 0.25)

    assert "loss 1, now place 1 of 2; went on: it came as place 1 of 1" in scheduler.explain(0)
    assert "loss 0.25, now place 1 of 1; this is the last rung" in scheduler.explain(0)
    assert "stopped: it came as place 2 of 2, when the best 1 went on" in scheduler.explain(1)
    assert "never started" in scheduler.explain(2)


def test_explanation_of_a_running_trial() -> None:
    scheduler = started(1)
    scheduler.stops(0, 0, 1.0)

    assert "rung 1 (resource 3): not reached yet" in scheduler.explain(0)
