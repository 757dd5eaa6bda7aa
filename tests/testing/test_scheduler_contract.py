"""The contract of schedulers finds wrong ones; `execute` keeps time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature

import pytest
from hypothesis import Phase, given, settings

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Promote, Scheduler, Standing, StartTrial
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.testing import scheduler_contract
from slurmtune.testing.scheduler_contract import MOVES, Move, Walk, execute


class PromotesFailed(Asha):
    """Takes a failure for a good result."""

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Hide it."""
        super().finished(trial, rung, -1.0 if loss is None else loss)


class SparesPaused(Asha):
    """Believes that nobody needs what a trial saved once it has paused."""

    def __init__(self, levels: Sequence[Resource], factor: int) -> None:
        super().__init__(levels, factor)
        self._ended: list[tuple[int, int]] = []

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Remember it."""
        self._ended.append((trial, rung))
        super().finished(trial, rung, loss)

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Tell all."""
        ended, self._ended = self._ended, []
        return ended


class SparesTwice(Asha):
    """Tells again what it told."""

    def __init__(self, levels: Sequence[Resource], factor: int) -> None:
        super().__init__(levels, factor)
        self._told: list[tuple[int, int]] = []

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Tell all."""
        self._told += super().spare(trials)
        return self._told


class SaysItDrops(Asha):
    """Sends trials to rungs that were dropped."""

    def drop(self, rung: int) -> bool:
        """Do nothing about it."""
        return rung < self._last


class StandsElsewhere(Asha):
    """Explains a promotion by places that there are not."""

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Take all places away."""
        found = super().standing(trial, rung)
        return None if found is None else replace(found, places=0)


class StandsBeforeTheEnd(Asha):
    """Knows how a trial stands that has not finished."""

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Invent it."""
        return super().standing(trial, rung) or Standing(rule="?", size=1, place=0, places=1)


class DecidesWhenAsked(Asha):
    """Promotes while it explains."""

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Change something."""
        self._bracket.promote_from(0)
        return super().standing(trial, rung)


class ChangesItsMind(AshaStopping):
    """Counts a result that comes twice as two."""

    def __init__(self, levels: Sequence[Resource], factor: int) -> None:
        super().__init__(levels, factor)
        self._calls = 0

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Say something else each time."""
        self._calls += 1
        return super().stops(trial, rung, loss) or self._calls % 2 == 0


class NeverEnds(Asha):
    """Starts trials when none may be started."""

    def decide(self, *, may_start: bool) -> Decision | None:
        """Do not listen."""
        return super().decide(may_start=True)


WRONG: list[tuple[Callable[[Sequence[Resource], int], Scheduler], str]] = [
    (PromotesFailed, "test_a_trial_is_promoted_from_a_good_result_to_a_higher_rung_and_once"),
    (PromotesFailed, "test_nothing_is_promoted_when_everything_fails"),
    (SparesPaused, "test_what_is_spare_is_never_asked_for_again"),
    (SparesTwice, "test_what_is_spare_is_never_asked_for_again"),
    (SaysItDrops, "test_no_trial_is_sent_to_a_dropped_rung"),
    (StandsElsewhere, "test_a_promoted_trial_stood_where_trials_go_on"),
    (StandsBeforeTheEnd, "test_a_trial_stands_at_the_rungs_that_it_finished"),
    (DecidesWhenAsked, "test_explaining_and_collecting_change_no_decision"),
    (ChangesItsMind, "test_results_that_come_twice_change_nothing"),
    (NeverEnds, "test_no_trial_is_started_when_none_may_be"),
]


@pytest.mark.parametrize(
    ("wrong", "test"), WRONG, ids=lambda value: getattr(value, "__name__", value)
)
def test_the_contract_finds_it(
    wrong: Callable[[Sequence[Resource], int], Scheduler], test: str
) -> None:
    class Contract(scheduler_contract.SchedulerContract):
        def make_scheduler(self) -> Scheduler:
            return wrong((1, 2, 4), 2)

    method = getattr(Contract, test)
    if not hasattr(method, "hypothesis"):
        with pytest.raises(AssertionError):
            method(Contract())
        return
    inner = method.hypothesis.inner_test
    more = {"rungs": [1]} if "rungs" in signature(inner).parameters else {}

    @settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate])
    @given(moves=MOVES)
    def search(moves: list[Move]) -> None:
        inner(Contract(), moves=moves, **more)

    with pytest.raises(AssertionError):
        search()


class Relay(BaseScheduler):
    """Three trials, each of which goes on from what the one before saved."""

    copies = True

    def __init__(self, *, backwards: bool = False) -> None:
        self._started = 0
        self._done: set[int] = set()
        self._backwards = backwards

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return three rungs."""
        return (2, 3, 7)

    def decide(self, *, may_start: bool) -> Decision | None:
        """Wait for the one before."""
        if not may_start or self._started == 3 or self._done != set(range(self._started)):
            return None
        if not self._started:
            return StartTrial()
        source = 0 if self._backwards else self._started - 1
        return StartTrial(rung=self._started, source=source, parents=(source,))

    def started(self, trial: int, bracket: int) -> None:
        """Count."""
        self._started += 1

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Note it."""
        self._done.add(trial)


def test_a_heir_runs_from_where_its_source_ended() -> None:
    execution = execute(Relay(), lambda trial, rung: 1.0, workers=2, trials=9)

    assert [start.time for start in execution.starts] == [0, 2, 3]
    assert execution.end == 7


def test_a_trial_that_begins_at_a_higher_rung_trains_from_nothing() -> None:
    execution = execute(Hyperband((1, 3, 9), 3), lambda trial, rung: trial, workers=99, trials=17)

    assert {(s.bracket, s.rung): s.time for s in reversed(execution.starts)} == {
        (0, 0): 0,
        (1, 1): 0,
        (2, 2): 0,
        (0, 1): 1,
        (1, 2): 3,
        (0, 2): 3,
    }
    assert execution.end == 9


def test_a_heir_of_a_rung_that_its_source_did_not_finish_is_found() -> None:
    walk = Walk(Relay(backwards=True))
    for _ in range(2):
        walk.ask(may_start=True)
        walk.finish(0, 1.0)
    with pytest.raises((AssertionError, KeyError)):
        walk.ask(may_start=True)


class Watcher(BaseScheduler):
    """Stops trials that report more than 5."""

    watches = True

    def __init__(self) -> None:
        self.heard: list[tuple[int, Resource]] = []
        self.ended: list[tuple[int, float | None]] = []

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return one rung."""
        return (9,)

    def decide(self, *, may_start: bool) -> Decision | None:
        """Start."""
        return StartTrial() if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        """Do nothing."""

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Look at the loss."""
        self.heard.append((trial, resource))
        return loss is not None and loss > 5

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Note it."""
        self.ended.append((trial, loss))


def test_a_scheduler_that_watches_hears_of_every_report() -> None:
    scheduler = Watcher()
    walk = Walk(scheduler)
    walk.ask(may_start=True)
    for _ in range(3):
        walk.finish(0, 1.0)

    assert scheduler.heard == [(0, 3), (0, 6), (0, 9)]
    assert scheduler.ended == [(0, 1.0)]
    assert not walk.running


def test_a_trial_that_was_told_to_stop_reports_no_more() -> None:
    scheduler = Watcher()
    walk = Walk(scheduler)
    walk.ask(may_start=True)
    walk.finish(0, 6.0)

    assert scheduler.heard == [(0, 3)]
    assert scheduler.ended == [(0, 6.0)]
    assert walk.stopped == [(0, 0)]


def test_a_walk_ranks_equals_by_who_came_first() -> None:
    walk = Walk(Asha((1, 3), 3))
    for _ in range(4):
        walk.ask(may_start=True)
    for loss in (2.0, None, 1.0, 2.0):
        walk.finish(0, loss)

    assert walk.ranking(0) == [(2, 1.0), (0, 2.0), (3, 2.0), (1, None)]
    assert walk.ask(may_start=False) == Promote(trial=2, rung=1)
