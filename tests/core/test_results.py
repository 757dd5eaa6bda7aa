"""Results by rung: the best of them, means, doubts about rungs."""

from typing import Any

import pytest

from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Observation
from slurmtune.core.record import TrialRecord
from slurmtune.core.results import Results, RungCount
from slurmtune.core.verdict import VerdictKind
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.successive_halving import SuccessiveHalving

KEEP = "all"


class Folds(Asha):
    """Rungs that are evaluations of their own."""

    @property
    def separate_rungs(self) -> bool:
        """They are."""
        return True


def results(scheduler: Any = None, goal: Goal = Goal.MINIMIZE) -> Results:
    """Return empty results."""
    return Results(Objective("loss", goal), scheduler or Asha((1, 2, 4), 2))


def trial(number: int) -> TrialRecord:
    """Return a trial without results."""
    return TrialRecord(number=number, config={}, origin="r", bracket=0)


def test_among_equals_who_finished_first_is_best() -> None:
    count = RungCount()
    for number in (4, 2, 3):
        count.note(0.5, number)

    assert [who for _, who in count.best] == [4, 2, 3]


def test_only_the_wanted_number_is_remembered() -> None:
    count = RungCount()
    for number in range(9):
        count.note(float(-number), number, most=2)

    assert count.best == [(-8.0, 8), (-7.0, 7)]


def test_the_best_of_the_highest_rung_come_first() -> None:
    found = results()
    for number, loss in enumerate((0.1, 0.2, 0.3)):
        found.note(trial(number), 0, loss, KEEP)
    found.note(trial(7), 1, 0.9, KEEP)

    assert found.best_trials(1) == {7}
    assert found.best_trials(2) == {7, 0}


def test_more_trials_are_remembered_when_their_checkpoints_stay() -> None:
    found = results()
    for number in range(9):
        found.note(trial(number), 0, float(number), "best:8")

    assert found.best_trials(8) == set(range(8))


def test_observations_are_losses_at_a_resource() -> None:
    found = results(goal=Goal.MAXIMIZE)
    found.note(trial(0), 1, 0.75, KEEP)

    assert found.history.observations == [Observation(trial=0, rung=1, resource=2, loss=-0.75)]


def test_a_trial_that_failed_at_one_fold_has_no_mean() -> None:
    found = results(Folds((1, 2, 3), 2))
    one = trial(0)
    for rung, value in enumerate((0.5, float("nan"), 0.5)):
        found.note(one, rung, value, KEEP)

    assert one.values == {0: 0.5, 1: None, 2: None}


def test_trials_are_counted_as_good_once() -> None:
    found = results()
    one = trial(0)
    found.note(one, 0, 0.5, KEEP)
    found.note(one, 1, 0.4, KEEP)
    found.note(trial(1), 0, None, KEEP)

    assert (found.good_trials, found.since_best) == (1, 1)


def doubtful(scheduler: Any, *, guard: bool) -> list[VerdictKind]:
    """Return what is found when the first rung takes as long as the second."""
    found = results(scheduler)
    kinds = []
    for number in range(12):
        one = trial(number)
        for rung, seconds in enumerate((100.0, 101.0)):
            found.note(one, rung, 0.01 * number, KEEP)
            kinds += [v.kind for v in found.doubt(one, rung, seconds, guard=guard)]
    return kinds


def test_a_rung_that_is_not_worth_its_cost_is_told() -> None:
    assert doubtful(Asha((1, 2, 4), 2), guard=False) == [VerdictKind.RUNG_DOUBTED]


def test_under_guard_it_is_dropped() -> None:
    scheduler = Asha((1, 2, 4), 2)
    assert doubtful(scheduler, guard=True) == [VerdictKind.RUNG_DROPPED]
    start = scheduler.decide(may_start=True)

    assert getattr(start, "rung", None) == 1


def test_under_guard_a_scheduler_that_cannot_drop_it_goes_on() -> None:
    scheduler = SuccessiveHalving((1, 2, 4), 2, 4)

    assert doubtful(scheduler, guard=True) == [VerdictKind.RUNG_DOUBTED]


@pytest.mark.parametrize("levels", [(1, 2, 3)])
def test_rungs_of_their_own_are_not_doubted(levels: tuple[int, ...]) -> None:
    assert doubtful(Folds(levels, 2), guard=True) == []
