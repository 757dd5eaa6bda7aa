"""What the study asks of a scheduler and tells of its decisions, by a scheduler that is scripted."""

from collections.abc import Sequence
from typing import Any

import pytest

from slurmtune.core.actions import DropCheckpoints, Offer, Propose, StopAttempt
from slurmtune.core.events import (
    ArrayIntended,
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CapacityChanged,
    CheckpointSaved,
    CheckpointsDropped,
    ConfigProposed,
    Event,
    Limits,
    SlotEnded,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Asked, Decision, Promote, Standing, StartTrial
from slurmtune.core.study import Study, StudySettings
from slurmtune.core.trial import Outcome, TrialState
from slurmtune.core.verdict import VerdictKind
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.base import BaseScheduler

SLOT = "st-1-1-1.0.0"


class Scripted(BaseScheduler):
    """Decides what it was told to decide, and remembers what it was told."""

    def __init__(self, *decisions: Decision, levels: Sequence[int] = (1, 3, 9)) -> None:
        self.decisions = list(decisions)
        self.levels = levels
        self.calls: list[tuple[Any, ...]] = []
        self.is_separate = self.is_watching = self.is_copying = False
        self.stop_at: float | None = None
        self.to_spare: list[tuple[int, int]] = []
        self.reached: dict[int, int] = {}

    def ladder(self, bracket: int) -> Sequence[int]:
        """Return the levels."""
        del bracket
        return self.levels

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return the next of the script, as soon as it can be."""
        if not self.decisions or (isinstance(self.decisions[0], StartTrial) and not may_start):
            return None
        wanted = self.decisions[0]
        finished = {call[1:3] for call in self.calls if call[0] == "finished"}
        if isinstance(wanted, Promote):
            if (wanted.trial, self.reached.get(wanted.trial, 0)) not in finished:
                return None
            self.reached[wanted.trial] = wanted.rung
        elif wanted.source is not None and (wanted.source, wanted.rung - 1) not in finished:
            return None
        return self.decisions.pop(0)

    def started(self, trial: int, bracket: int) -> None:
        """Remember it."""
        self.calls.append(("started", trial, bracket))

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Remember it."""
        self.calls.append(("finished", trial, rung, loss))

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return a standing that can be recognised."""
        return Standing(rule=f"rule of t{trial} at {rung}", size=7, place=2, places=3)

    @property
    def separate_rungs(self) -> bool:
        """As set."""
        return self.is_separate

    @property
    def watches(self) -> bool:
        """As set."""
        return self.is_watching

    @property
    def copies(self) -> bool:
        """As set."""
        return self.is_copying

    def reported(self, trial: int, resource: float, loss: float | None) -> bool:
        """Remember it, and stop where it was told to."""
        self.calls.append(("reported", trial, resource, loss))
        return resource == self.stop_at

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return what it was told to, once."""
        del trials
        told, self.to_spare = self.to_spare, []
        return told


class Rig:
    """A study with one array, somebody who answers proposals, and all that came of it."""

    def __init__(
        self, scheduler: Any, *, goal: Goal = Goal.MINIMIZE, capacity: int = 4, **limits: Any
    ) -> None:
        objective = Objective("loss", goal)
        self.scheduler = scheduler
        self.study = Study(StudySettings(seed=0, objective=objective), scheduler)
        self.actions: list[Any] = []
        self.verdicts: list[Any] = []
        self.seq: dict[str, int] = {}
        limits = {"trials": 9, **limits}
        self.feed(StudyOpened(time=0, spec_sha256="x", limits=Limits(**limits)))
        self.feed(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=4))
        self.feed(CapacityChanged(time=0, attempts=capacity))

    def feed(self, event: Event) -> None:
        """Handle an event; proposals are answered at once."""
        actions = self.study.handle(event) or ()
        self.verdicts += self.study.verdicts
        for action in actions:
            self.actions.append(action)
            if isinstance(action, Propose):
                config = {"x": action.trial}
                self.feed(ConfigProposed(time=0, trial=action.trial, config=config, origin="r"))

    def offer(self, name: str) -> Offer:
        """Return the offer of an attempt."""
        return next(a for a in self.actions if isinstance(a, Offer) and a.attempt == name)

    def start(self, name: str, slot: str = SLOT) -> None:
        """Claim and start an attempt."""
        self.seq[name] = 0
        self.feed(AttemptClaimed(time=0, attempt=name, slot=slot))
        start = self.offer(name).start
        self.feed(
            AttemptStarted(time=0, attempt=name, seq=0, slot=slot, job="7", host="n", start=start)
        )

    def _next(self, name: str) -> int:
        self.seq[name] += 1
        return self.seq[name]

    def report(self, name: str, resource: float, loss: float) -> None:
        """Report a loss."""
        metrics = {"loss": loss}
        seq = self._next(name)
        self.feed(
            AttemptReported(time=0, attempt=name, seq=seq, resource=resource, metrics=metrics)
        )

    def save(self, name: str, resource: float) -> None:
        """Save a checkpoint named by resource and attempt."""
        seq, made = self._next(name), f"{resource}.{name}"
        self.feed(CheckpointSaved(time=0, attempt=name, seq=seq, resource=resource, name=made))

    def end(self, name: str, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
        """End an attempt."""
        seq = self._next(name)
        self.feed(AttemptEnded(time=0, attempt=name, seq=seq, outcome=outcome, seconds=60, **more))

    def run(self, name: str, loss: float, slot: str = SLOT, **more: Any) -> None:
        """Train an attempt to its end."""
        end = self.offer(name).end
        assert end is not None
        self.start(name, slot)
        self.report(name, end, loss)
        self.save(name, end)
        self.end(name, **more)


def told(rig: Rig, kind: VerdictKind) -> list[tuple[int | None, int]]:
    """Return trial and rung of the verdicts of a kind."""
    return [(verdict.trial, verdict.rung) for verdict in rig.verdicts if verdict.kind is kind]


def test_a_trial_begins_at_the_rung_that_the_scheduler_wants() -> None:
    rig = Rig(Scripted(StartTrial(bracket=1, rung=1)))

    assert rig.offer("t00000.r1.a1").end == 3
    assert rig.offer("t00000.r1.a1").start == 0
    assert rig.scheduler.calls == [("started", 0, 1)]


def test_the_sampler_is_told_what_is_asked() -> None:
    rig = Rig(Scripted(StartTrial(), StartTrial(bracket=2, rung=1, parents=(0,))))

    assert rig.study.results.history.asked == [
        Asked(bracket=0, rung=0, resource=1),
        Asked(bracket=2, rung=1, resource=3, parents=(0,)),
    ]


def test_pause_and_promotion_are_told_with_what_the_scheduler_saw() -> None:
    rig = Rig(Scripted(StartTrial(), Promote(trial=0, rung=1)))
    rig.run("t00000.r0.a1", 0.5)

    paused, promoted = rig.verdicts
    assert (paused.kind, promoted.kind) == (VerdictKind.PAUSED, VerdictKind.PROMOTED)
    assert promoted.loss == 0.5
    assert promoted.standing == Standing(rule="rule of t0 at 0", size=7, place=2, places=3)


def test_the_last_rung_completes() -> None:
    rig = Rig(Scripted(StartTrial(rung=2)))
    rig.run("t00000.r2.a1", 0.5)

    assert told(rig, VerdictKind.COMPLETED) == [(0, 2)]
    assert rig.study.trials[0].state is TrialState.COMPLETED


def test_a_failure_is_told_with_its_cause() -> None:
    rig = Rig(Scripted(StartTrial()))
    rig.start("t00000.r0.a1")
    rig.end("t00000.r0.a1", Outcome.FAILED, exit_code=1, cause="no such file")

    (verdict,) = rig.verdicts
    assert (verdict.kind, verdict.note) == (VerdictKind.FAILED, "no such file")


def test_a_stop_by_the_user_is_told() -> None:
    rig = Rig(Scripted(StartTrial()))
    rig.start("t00000.r0.a1")
    rig.feed(StopRequested(time=0, trial=0))

    (verdict,) = rig.verdicts
    assert (verdict.kind, verdict.note) == (VerdictKind.STOPPED, "stopped by the user")


def test_verdicts_are_those_of_the_last_event_only() -> None:
    rig = Rig(Scripted(StartTrial()))
    rig.run("t00000.r0.a1", 0.5)
    rig.feed(CapacityChanged(time=0, attempts=5))

    assert rig.study.verdicts == ()


def test_a_rung_that_is_left_out_is_counted_as_passed() -> None:
    rig = Rig(Scripted(StartTrial(), Promote(trial=0, rung=2)))
    rig.run("t00000.r0.a1", 0.5)

    assert rig.offer("t00000.r2.a1").end == 9
    assert rig.study.results.rungs[0].promoted == 1


# -------------------------------------------------------------------- schedulers that watch


def test_every_report_is_told_to_a_scheduler_that_watches() -> None:
    scheduler = Scripted(StartTrial(rung=2))
    scheduler.is_watching = True
    rig = Rig(scheduler)
    rig.start("t00000.r2.a1")
    rig.report("t00000.r2.a1", 1, 0.5)
    rig.report("t00000.r2.a1", 2, 0.4)

    assert scheduler.calls[1:] == [("reported", 0, 1, 0.5), ("reported", 0, 2, 0.4)]


def test_what_a_retry_reports_again_is_not_told_again() -> None:
    scheduler = Scripted(StartTrial(rung=2))
    scheduler.is_watching = True
    rig = Rig(scheduler)
    rig.start("t00000.r2.a1")
    rig.report("t00000.r2.a1", 1, 0.5)
    rig.end("t00000.r2.a1", Outcome.PREEMPTED)
    rig.start("t00000.r2.a2")
    rig.report("t00000.r2.a2", 1, 0.6)

    assert scheduler.calls[1:] == [("reported", 0, 1, 0.5)]


def test_a_report_may_stop_the_trial() -> None:
    scheduler = Scripted(StartTrial(rung=2))
    scheduler.is_watching, scheduler.stop_at = True, 2
    rig = Rig(scheduler)
    rig.start("t00000.r2.a1")
    rig.report("t00000.r2.a1", 2, 0.4)
    assert StopAttempt(attempt="t00000.r2.a1") in rig.actions
    rig.report("t00000.r2.a1", 3, 0.3)
    rig.end("t00000.r2.a1", Outcome.CANCELLED)

    assert rig.study.trials[0].state is TrialState.STOPPED
    assert told(rig, VerdictKind.STOPPED) == [(0, 2)]
    assert scheduler.calls[-1] == ("finished", 0, 2, None)
    assert ("reported", 0, 3, 0.3) not in scheduler.calls


# -------------------------------------------------------------------- rungs of their own


def separate(goal: Goal = Goal.MINIMIZE) -> Rig:
    """Return a study whose rungs are folds, with a trial that goes through three."""
    scheduler = Scripted(
        StartTrial(), Promote(trial=0, rung=1), Promote(trial=0, rung=2), levels=(1, 2, 3)
    )
    scheduler.is_separate = True
    return Rig(scheduler, goal=goal)


def test_a_rung_of_its_own_begins_where_the_one_below_ends_without_a_checkpoint() -> None:
    rig = separate()
    rig.run("t00000.r0.a1", 0.5)
    offer = rig.offer("t00000.r1.a1")

    assert (offer.start, offer.end, offer.checkpoint) == (1, 2, None)


def test_a_retry_within_a_rung_of_its_own_goes_on_from_what_it_saved() -> None:
    rig = separate()
    rig.run("t00000.r0.a1", 0.5)
    rig.start("t00000.r1.a1")
    rig.save("t00000.r1.a1", 1.5)
    rig.end("t00000.r1.a1", Outcome.PREEMPTED)

    assert rig.offer("t00000.r1.a2").checkpoint == "1.5.t00000.r1.a1"


def test_the_value_of_a_trial_with_rungs_of_their_own_is_the_mean() -> None:
    rig = separate(Goal.MAXIMIZE)
    for rung, value in enumerate((0.5, 0.7, 0.9)):
        rig.run(f"t00000.r{rung}.a1", value)

    assert [round(value, 12) for value in rig.study.trials[0].values.values() if value] == [
        0.5,
        0.6,
        0.7,
    ]
    assert rig.scheduler.calls[-1] == ("finished", 0, 2, -0.9)


# -------------------------------------------------------------------- heirs


def test_an_heir_goes_on_from_what_its_source_had_saved_at_the_rung_below() -> None:
    scheduler = Scripted(
        StartTrial(),
        Promote(trial=0, rung=1),
        StartTrial(rung=1, parents=(0,), source=0),
    )
    scheduler.is_copying = True
    rig = Rig(scheduler)
    rig.run("t00000.r0.a1", 0.5)
    heir = rig.offer("t00001.r1.a1")

    assert (heir.start, heir.end, heir.checkpoint) == (1, 3, "1.t00000.r0.a1")
    assert rig.study.trials[1].source == 0


def test_an_heir_whose_source_saved_nothing_begins_with_nothing() -> None:
    rig = Rig(Scripted(StartTrial(), StartTrial(rung=1, parents=(0,), source=0)))
    rig.start("t00000.r0.a1")
    rig.report("t00000.r0.a1", 1, 0.5)
    rig.end("t00000.r0.a1")

    assert rig.offer("t00001.r1.a1").checkpoint is None
    assert rig.offer("t00001.r1.a1").start == 0


# -------------------------------------------------------------------- programs that wait


def test_the_next_offer_names_the_slot_whose_program_waits() -> None:
    rig = Rig(Scripted(StartTrial(), Promote(trial=0, rung=1)))
    rig.run("t00000.r0.a1", 0.5, holding=True)

    assert rig.offer("t00000.r1.a1").holder == SLOT


def test_no_slot_is_named_when_the_program_has_left() -> None:
    rig = Rig(Scripted(StartTrial(), Promote(trial=0, rung=1)))
    rig.run("t00000.r0.a1", 0.5)

    assert rig.offer("t00000.r1.a1").holder == ""


def test_no_slot_is_named_when_the_next_rung_needs_another_class() -> None:
    rig = Rig(
        Scripted(StartTrial(), Promote(trial=0, rung=1)),
        rung_classes=("c0", "c1"),
    )
    rig.run("t00000.r0.a1", 0.5, holding=True)

    assert rig.offer("t00000.r1.a1").holder == ""


def test_no_slot_is_named_that_has_gone_meanwhile() -> None:
    rig = Rig(Scripted(StartTrial(), Promote(trial=0, rung=1)), capacity=1)
    rig.feed(CapacityChanged(time=0, attempts=0))
    rig.run("t00000.r0.a1", 0.5, holding=True)
    rig.feed(SlotEnded(time=0, token="st-1-1-1", index=0, outcome=Outcome.SUCCEEDED))
    rig.feed(CapacityChanged(time=0, attempts=1))

    assert rig.offer("t00000.r1.a1").holder == ""


def test_no_slot_is_named_that_took_other_work_meanwhile() -> None:
    """Its program is gone, and other slots would leave the offer to it for nothing."""
    rig = Rig(
        Scripted(StartTrial(), StartTrial(), Promote(trial=0, rung=1)),
        capacity=2,
    )
    rig.feed(CapacityChanged(time=0, attempts=1))
    rig.run("t00000.r0.a1", 0.5, holding=True)
    rig.start("t00001.r0.a1")
    rig.feed(CapacityChanged(time=0, attempts=2))

    assert rig.offer("t00000.r1.a1").holder == ""


def test_no_slot_is_named_once_the_trial_went_on_elsewhere() -> None:
    script = (StartTrial(), Promote(trial=0, rung=1), Promote(trial=0, rung=2))
    rig = Rig(Scripted(*script))
    rig.run("t00000.r0.a1", 0.5, holding=True)
    rig.run("t00000.r1.a1", 0.4, slot="st-1-1-1.1.0")

    assert rig.offer("t00000.r2.a1").holder == ""


def test_a_slot_that_holds_again_is_named_again() -> None:
    rig = Rig(
        Scripted(StartTrial(), Promote(trial=0, rung=1), Promote(trial=0, rung=2)),
    )
    rig.run("t00000.r0.a1", 0.5, holding=True)
    rig.run("t00000.r1.a1", 0.4, holding=True)

    assert rig.offer("t00000.r2.a1").holder == SLOT


# -------------------------------------------------------------------- an order of results


def test_the_order_of_results_alone_decides() -> None:
    """Who holds what, and where it ran, is no part of a decision."""
    losses = (5.0, 3.0, 8.0, 1.0, 9.0, 2.0)

    def promoted(*, holding: bool) -> list[tuple[int | None, int]]:
        rig = Rig(Asha((1, 3, 9), 3), trials=6, capacity=6)
        for trial, loss in enumerate(losses):
            rig.run(f"t{trial:05d}.r0.a1", loss, holding=holding)
        return told(rig, VerdictKind.PROMOTED)

    assert promoted(holding=True) == promoted(holding=False) != []


# -------------------------------------------------------------------- checkpoints


def drops(rig: Rig) -> list[DropCheckpoints]:
    """Return what was asked to be removed."""
    return [action for action in rig.actions if isinstance(action, DropCheckpoints)]


def test_a_checkpoint_goes_when_the_scheduler_says_that_nobody_needs_it() -> None:
    scheduler = Scripted(StartTrial(), StartTrial())
    rig = Rig(scheduler, keep="none")
    rig.run("t00000.r0.a1", 0.5)
    rig.run("t00001.r0.a1", 0.4)
    assert drops(rig) == []
    scheduler.to_spare = [(0, 0), (1, 0)]
    rig.feed(StudyOpened(time=0, spec_sha256="x", limits=rig.study.limits))

    assert drops(rig) == [DropCheckpoints(trial=0, names=("1.t00000.r0.a1",))]


def test_another_rule_holds_for_what_the_old_one_let_stay() -> None:
    scheduler = Scripted(StartTrial(), StartTrial())
    rig = Rig(scheduler, keep="all")
    rig.run("t00000.r0.a1", 0.5)
    rig.run("t00001.r0.a1", 0.4)
    scheduler.to_spare = [(0, 0), (1, 0)]
    rig.feed(StudyOpened(time=0, spec_sha256="x", limits=rig.study.limits))
    assert drops(rig) == []
    rig.feed(StudyOpened(time=0, spec_sha256="y", limits=Limits(trials=9, keep="none")))

    assert drops(rig) == [DropCheckpoints(trial=0, names=("1.t00000.r0.a1",))]


@pytest.mark.parametrize("count", [2, 7])
def test_under_a_new_rule_the_best_of_all_stay(count: int) -> None:
    """Also those that the old rule did not have to tell from the others."""
    scheduler = Scripted(*[StartTrial() for _ in range(9)])
    rig = Rig(scheduler, keep="all", capacity=9)
    for trial in range(9):
        rig.run(f"t{trial:05d}.r0.a1", (trial * 5 % 9) / 10)
    scheduler.to_spare = [(trial, 0) for trial in range(9)]
    rig.feed(StudyOpened(time=0, spec_sha256="x", limits=rig.study.limits))
    limits = Limits(trials=9, keep=f"best:{count}")
    rig.feed(StudyOpened(time=0, spec_sha256="y", limits=limits))

    dropped = {action.trial for action in drops(rig)}
    assert dropped == {trial for trial in range(9) if trial * 5 % 9 >= count}


def test_a_new_driver_repeats_what_was_not_confirmed() -> None:
    scheduler = Scripted(StartTrial(), StartTrial())
    rig = Rig(scheduler, keep="none")
    rig.run("t00000.r0.a1", 0.5)
    rig.run("t00001.r0.a1", 0.4)
    scheduler.to_spare = [(0, 0)]
    rig.feed(StudyOpened(time=0, spec_sha256="x", limits=rig.study.limits))
    assert drops(rig)[0] in rig.study.open_actions()
    names = ("1.t00000.r0.a1",)
    rig.feed(CheckpointsDropped(time=0, trial=0, names=names))

    assert drops(rig)[0] not in rig.study.open_actions()
    assert rig.study.handle(CheckpointsDropped(time=0, trial=0, names=names)) is None


def test_the_program_removes_its_own_older_checkpoints() -> None:
    """Only the last two of an attempt exist: the others need no order to remove them."""
    rig = Rig(Scripted(StartTrial(rung=2)))
    rig.start("t00000.r2.a1")
    for epoch in (1, 2, 3, 4):
        rig.save("t00000.r2.a1", epoch)

    assert [one.resource for one in rig.study.trials[0].saved] == [3, 4]
    assert drops(rig) == []


def test_a_trial_whose_checkpoint_was_removed_begins_again_when_limits_are_raised() -> None:
    scheduler = Scripted(StartTrial(), StartTrial())
    rig = Rig(scheduler, keep="none")
    rig.run("t00000.r0.a1", 0.5)
    rig.run("t00001.r0.a1", 0.4)
    scheduler.to_spare = [(0, 0)]
    rig.feed(StudyOpened(time=0, spec_sha256="x", limits=rig.study.limits))
    scheduler.decisions = [Promote(trial=0, rung=1)]
    limits = Limits(trials=99, keep="none")
    rig.feed(StudyOpened(time=0, spec_sha256="y", limits=limits))

    offer = rig.offer("t00000.r1.a1")
    assert (offer.start, offer.checkpoint) == (0, None)


def test_the_time_of_attempts_that_were_cut_short_counts_for_a_rung() -> None:
    rig = Rig(Scripted(StartTrial(), Promote(trial=0, rung=1)))
    rig.start("t00000.r0.a1")
    rig.end("t00000.r0.a1", Outcome.PREEMPTED)
    rig.run("t00000.r0.a2", 0.5)
    rig.run("t00000.r1.a1", 0.4)

    assert rig.study.trials[0].seconds == 180


def test_a_trial_that_begins_at_a_higher_rung_does_not_overtake_a_stage() -> None:
    rig = Rig(Scripted(StartTrial(), StartTrial(bracket=1, rung=1), Promote(trial=0, rung=1)))
    rig.run("t00000.r0.a1", 0.5)

    new, promoted = rig.offer("t00001.r1.a1"), rig.offer("t00000.r1.a1")
    assert new.priority == rig.offer("t00000.r0.a1").priority > promoted.priority
