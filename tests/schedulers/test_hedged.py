"""A control group taken out of other schedulers: who is in it, and that it runs to the end."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.ports import Promote, Scheduler, Standing, StartTrial
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.async_hyperband import AsyncHyperband
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.hedged import Hedged
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pasha import Pasha
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.scheduler_contract import MOVES, Move, SchedulerContract, Walk, execute


class TestHedgedAshaContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(Asha((1, 3, 9), 3), 0.2)


class TestHedgedSuccessiveHalvingContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(SuccessiveHalving((1, 3, 9), 3, 12), 0.3)


class TestHedgedHyperbandContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(Hyperband((1, 3, 9), 3), 0.5)


class TestHedgedAsyncHyperbandContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(AsyncHyperband((1, 3, 9), 3), 0.25)


class TestHedgedPashaContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(Pasha((1, 3, 9), 3), 0.2)


class TestHedgedAshaStoppingContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(AshaStopping((1, 3, 9), 3), 0.2)


class TestHedgedMedianRuleContract(SchedulerContract):
    def make_scheduler(self) -> Hedged:
        return Hedged(MedianRule(9, grace=1, min_trials=3), 0.2)


class Heard(BaseScheduler):
    """A scheduler with three rungs that writes down what it hears, and promotes nobody."""

    def __init__(self, *, copies: bool = False, separate_rungs: bool = False) -> None:
        self.calls: list[tuple[object, ...]] = []
        self._copies, self._separate_rungs = copies, separate_rungs

    @property
    def copies(self) -> bool:
        return self._copies

    @property
    def separate_rungs(self) -> bool:
        return self._separate_rungs

    def ladder(self, bracket: int) -> tuple[int, ...]:
        return (1, 3, 9)

    def decide(self, *, may_start: bool) -> StartTrial | None:
        return StartTrial(bracket=1, rung=1) if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        self.calls.append(("started", trial, bracket))

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        self.calls.append(("finished", trial, rung, loss))

    def standing(self, trial: int, rung: int) -> Standing | None:
        return Standing(rule="heard", size=trial, place=rung, places=0)

    def compared(self, trial: int, rung: int) -> list[tuple[int, float | None]]:
        return [(trial, float(rung))]

    def spare(self, trials: int) -> list[tuple[int, int]]:
        self.calls.append(("spare", trials))
        return []

    def drop(self, rung: int) -> bool:
        return rung == 1


class StoppingHeard(Heard):
    """The same, but for trials that run through and are always stopped."""

    @property
    def runs_through(self) -> bool:
        return True

    @property
    def watches(self) -> bool:
        return True

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        self.calls.append(("stops", trial))
        return True

    def reported(self, trial: int, resource: float, loss: float | None) -> bool:
        self.calls.append(("reported", trial))
        return True


def started(scheduler: Hedged, trials: int) -> Hedged:
    """Start so many trials."""
    for trial in range(trials):
        decision = scheduler.decide(may_start=True)
        assert isinstance(decision, StartTrial)
        scheduler.started(trial, decision.bracket)
    return scheduler


def controls(scheduler: Hedged, trials: int) -> list[int]:
    return [trial for trial in range(trials) if scheduler.is_control(trial)]


def standing(scheduler: Hedged, trial: int, rung: int) -> Standing:
    found = scheduler.standing(trial, rung)
    assert found is not None
    return found


# ----------------------------------------------------------------------------- who is taken out


def test_a_tenth_is_every_tenth_trial() -> None:
    assert controls(started(Hedged(Heard(), 0.1), 35), 35) == [9, 19, 29]


def test_three_tenths_are_spread_evenly() -> None:
    assert controls(started(Hedged(Heard(), 0.3), 14), 14) == [3, 6, 9, 13]


@given(percent=st.integers(1, 50), trials=st.integers(0, 250))
def test_of_any_number_of_trials_the_exact_share_is_taken_out(percent: int, trials: int) -> None:
    taken = controls(started(Hedged(Heard(), percent / 100), trials), trials)

    assert len(taken) == Fraction(percent, 100) * trials // 1


@pytest.mark.parametrize(
    ("trials", "share", "taken"), [(10, 0.1, 1), (20, 0.25, 5), (10, 0.3, 3), (10, 0.5, 5)]
)
def test_the_last_one_is_taken_out_when_the_other_scheduler_has_all_its_trials(
    trials: int, share: float, taken: int
) -> None:
    scheduler = Hedged(SuccessiveHalving((1, 3), 3, trials - taken), share)
    started(scheduler, trials)

    assert len(controls(scheduler, trials)) == taken
    assert scheduler.is_control(trials - 1)
    assert scheduler.decide(may_start=True) is None


def test_a_trial_that_is_not_due_is_not_started_for_a_scheduler_that_wants_none() -> None:
    scheduler = started(Hedged(SuccessiveHalving((1, 3), 3, 5), 0.25), 6)

    assert scheduler.decide(may_start=True) is None


def test_a_trial_that_was_wanted_but_not_started_changes_nothing() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 1)
    scheduler.decide(may_start=True)
    scheduler.decide(may_start=False)
    scheduler.decide(may_start=True)
    scheduler.started(1, 1)

    assert scheduler.is_control(1)


def test_the_other_scheduler_never_hears_of_a_trial_that_was_taken_out() -> None:
    inner = Heard()
    scheduler = started(Hedged(inner, 0.5), 3)
    scheduler.finished(1, 1, 5.0)
    scheduler.finished(2, 1, 6.0)

    assert inner.calls == [("started", 0, 1), ("started", 2, 1), ("finished", 2, 1, 6.0)]


@pytest.mark.parametrize("share", [0.0, -0.1, 0.51, 1.0, float("nan"), float("inf")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and at most 0\.5"):
        Hedged(Heard(), share)


def test_a_scheduler_that_copies_is_refused() -> None:
    with pytest.raises(ValueError, match="from what others saved"):
        Hedged(Heard(copies=True), 0.1)


def test_a_scheduler_with_separate_rungs_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation of its own"):
        Hedged(Heard(separate_rungs=True), 0.1)


# -------------------------------------------------------------------------- what becomes of them


def test_a_trial_that_was_taken_out_goes_to_the_end_from_where_it_began() -> None:
    """The other scheduler wanted it to begin at rung 1 of bracket 1."""
    scheduler = started(Hedged(Heard(), 0.5), 2)
    scheduler.finished(1, 1, 1e9)

    assert scheduler.decide(may_start=True) == Promote(trial=1, rung=2)
    scheduler.finished(1, 2, 1e9)
    assert scheduler.decide(may_start=True) == StartTrial(bracket=1, rung=1)


@pytest.mark.parametrize("loss", [None, float("nan")])
def test_a_trial_that_failed_goes_nowhere(loss: float | None) -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    scheduler.finished(1, 1, loss)

    assert scheduler.decide(may_start=False) is None


def test_they_are_promoted_in_the_order_in_which_they_finished() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 6)
    for trial in (3, 5, 1):
        scheduler.finished(trial, 1, 1.0)

    assert [scheduler.decide(may_start=False) for _ in range(3)] == [
        Promote(trial=3, rung=2),
        Promote(trial=5, rung=2),
        Promote(trial=1, rung=2),
    ]


def test_all_others_are_treated_as_without_them() -> None:
    """Every other of 18 trials is the best or the worst of all; the rest is plain ASHA."""
    losses = [4.0, 2.0, 7.0, 1.0, 8.0, 3.0, 6.0, 5.0, 9.0]
    hedged = Hedged(Asha((1, 3, 9), 3), 0.5)
    execution = execute(
        hedged,
        lambda trial, rung: losses[trial // 2] if trial % 2 == 0 else 1000.0 * (trial % 4 - 2),
        workers=1,
        trials=18,
    )
    plain = execute(Asha((1, 3, 9), 3), lambda trial, rung: losses[trial], workers=1, trials=9)
    for rung in range(3):
        here = execution.trials_at(rung)

        assert {trial for trial in here if trial % 2} == set(range(1, 18, 2))
        assert {trial // 2 for trial in here if trial % 2 == 0} == plain.trials_at(rung)


@settings(max_examples=60, deadline=None)
@given(moves=MOVES)
def test_at_rest_all_that_did_not_fail_have_reached_the_end(moves: list[Move]) -> None:
    scheduler = Hedged(Asha((1, 3, 9), 3), 0.2)
    walk = Walk(scheduler).follow(moves).drain()
    for trial in controls(scheduler, len(walk.brackets)):
        results = [loss for (other, _), loss in walk.results.items() if other == trial]

        assert len(results) == 3 or results[-1] is None


def test_a_dropped_rung_is_left_out_by_all() -> None:
    scheduler = Hedged(Asha((1, 3, 9), 3), 0.5)
    started(scheduler, 2)
    assert scheduler.drop(1)
    scheduler.finished(1, 0, 1.0)

    assert scheduler.decide(may_start=True) == Promote(trial=1, rung=2)


def test_a_rung_that_the_other_scheduler_keeps_is_kept() -> None:
    assert not Hedged(Heard(), 0.5).drop(0)


@pytest.mark.parametrize("rung", [0, 2])
def test_a_result_at_another_rung_than_the_scheduled_one_is_refused(rung: int) -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    with pytest.raises(ValueError, match="only scheduled up to rung 1"):
        scheduler.finished(1, rung, 1.0)


def test_a_trial_is_started_once() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    with pytest.raises(ValueError, match="before"):
        scheduler.started(1, 0)


# ------------------------------------------------------------------ schedulers that stop trials


def test_a_trial_that_was_taken_out_is_never_stopped() -> None:
    inner = StoppingHeard()
    scheduler = started(Hedged(inner, 0.5), 2)
    inner.calls.clear()

    assert not scheduler.stops(1, 0, 1e9)
    assert not scheduler.reported(1, 2, 1e9)
    assert inner.calls == []


def test_others_are_stopped_as_the_other_scheduler_wants() -> None:
    scheduler = started(Hedged(StoppingHeard(), 0.5), 2)

    assert scheduler.runs_through
    assert scheduler.watches
    assert scheduler.stops(0, 0, 1.0)
    assert scheduler.reported(0, 2, 1.0)


def test_one_that_runs_through_needs_no_promotion() -> None:
    scheduler = started(Hedged(StoppingHeard(), 0.5), 2)
    scheduler.stops(1, 0, 1.0)

    assert scheduler.decide(may_start=False) is None
    assert standing(scheduler, 1, 0).place == 0


def test_one_that_pauses_is_not_asked_whether_it_stops() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    with pytest.raises(ValueError, match="pauses"):
        scheduler.stops(1, 0, 1.0)


# ----------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize(
    ("share", "rule"),
    [
        (0.1, "one in ten runs to the end whatever its rank"),
        (0.05, "one in 20 runs to the end whatever its rank"),
        (0.3, "3 in ten run to the end whatever their rank"),
    ],
)
def test_standing_says_why_they_go_on(share: float, rule: str) -> None:
    scheduler = started(Hedged(Heard(), share), 20)
    trial = controls(scheduler, 20)[0]
    scheduler.finished(trial, 1, 5.0)

    assert standing(scheduler, trial, 1) == Standing(
        rule=rule, size=1, place=0, places=1, outlook="waits for a free slot"
    )


def test_standing_after_the_promotion_and_at_the_end() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    scheduler.finished(1, 1, 5.0)
    scheduler.decide(may_start=True)
    scheduler.finished(1, 2, 5.0)

    assert standing(scheduler, 1, 1).outlook == ""
    assert standing(scheduler, 1, 2).places == 0


def test_standing_of_one_that_failed() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    scheduler.finished(1, 1, None)

    assert standing(scheduler, 1, 1).place is None
    assert "failed" in standing(scheduler, 1, 1).outlook


def test_one_that_did_not_finish_the_rung_has_no_standing() -> None:
    assert started(Hedged(Heard(), 0.5), 2).standing(1, 1) is None


def test_they_are_shown_beside_each_other() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 4)
    scheduler.finished(1, 1, 5.0)
    scheduler.finished(3, 1, 4.0)

    assert scheduler.compared(1, 1) == [(3, 4.0), (1, 5.0)]
    assert scheduler.compared(1, 2) == ()


def test_of_all_others_the_other_scheduler_tells() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 4)

    assert standing(scheduler, 2, 1).rule == "heard"
    assert scheduler.compared(2, 1) == [(2, 1.0)]
    assert not scheduler.is_control(2)
    assert list(scheduler.ladder(1)) == [1, 3, 9]


def test_what_was_gone_on_from_is_spare_and_so_is_the_end() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    scheduler.finished(1, 1, 5.0)
    assert scheduler.spare(9) == []
    scheduler.decide(may_start=True)
    scheduler.finished(1, 2, 5.0)

    assert scheduler.spare(9) == [(1, 1), (1, 2)]
    assert scheduler.spare(9) == []


def test_what_failed_is_spare() -> None:
    scheduler = started(Hedged(Heard(), 0.5), 2)
    scheduler.finished(1, 1, None)

    assert scheduler.spare(9) == [(1, 1)]


@pytest.mark.parametrize(
    ("share", "trials", "others"), [(0.1, 27, 25), (0.5, 9, 5), (0.3, 10, 7), (0.1, 9, 9)]
)
def test_the_other_scheduler_never_holds_more_than_the_rest(
    share: float, trials: int, others: int
) -> None:
    inner = Heard()
    scheduler = started(Hedged(inner, share), trials)
    inner_trials = sum(call[0] == "started" for call in inner.calls)
    scheduler.spare(trials)

    assert inner.calls[-1] == ("spare", others)
    assert inner_trials == others


def test_a_hedged_scheduler_is_a_scheduler() -> None:
    scheduler: Scheduler = Hedged(Asha((1, 3), 3), 0.1)

    assert not scheduler.copies
    assert not scheduler.separate_rungs
