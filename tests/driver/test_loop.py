"""The loop on the simulated cluster: whole studies in virtual time, and what may go wrong there."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.backends.base import ArraySpec, BackendLimits, SlotState, SlotStatus
from slurmtune.backends.simulator import Constant, Exponential, Interval
from slurmtune.core.events import AttemptEnded, AttemptReported, Config, Event, StopRequested
from slurmtune.core.ports import Decision, HistoryView, Scheduler
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState, Outcome, TrialState
from slurmtune.driver.loop import Driver
from slurmtune.driver.ports import Command, NoFiles
from slurmtune.driver.recovery import replay
from slurmtune.errors import (
    BackendError,
    BackendUnavailableError,
    DriverFencedError,
    SubmissionRefusedError,
)
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.store.memory import MemoryJournal
from slurmtune.testing.curves import CrashRegion, PowerLawCurves, Region
from slurmtune.testing.study_rig import HashSampler, StudyRig, snapshot

ROUGH = {
    "queue_wait": Exponential(600.0),
    "startup": Constant(60.0),
    "preemptions_per_hour": 0.5,
    "node_failures_per_hour": 0.2,
    "visibility_delay_seconds": 2.0,
}
"""A cluster where much goes wrong, but never for ever."""


def configs(rig: StudyRig) -> dict[int, Config]:
    return {trial.number: trial.config for trial in rig.study.trials}


def assert_all_is_over(rig: StudyRig) -> None:
    over = {TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED, TrialState.PAUSED}
    assert {trial.state for trial in rig.study.trials} <= over
    assert not rig.study.live
    assert set(rig.cluster.folder.claims) <= {a.id for t in rig.study.trials for a in t.attempts}


# ------------------------------------------------------------------ whole studies


def test_81_trials_climb_the_ladder_and_every_count_is_exact() -> None:
    rig = StudyRig(trials=81, slots=16)

    assert rig.run() == "done"

    by_rung = [sum(rung in trial.values for trial in rig.study.trials) for rung in range(4)]
    assert by_rung[0] == 81
    assert [rig.study.results.rungs[rung].done for rung in range(4)] == by_rung
    assert [rig.study.results.rungs[rung].promoted for rung in range(3)] == by_rung[1:]
    assert all(below // 3 <= above for below, above in pairwise(by_rung))
    assert_all_is_over(rig)


def test_synchronous_halving_keeps_exactly_a_third() -> None:
    rig = StudyRig(trials=27, slots=8, scheduler=lambda: SuccessiveHalving([1, 3, 9], 3, 27))

    assert rig.run() == "done"

    assert [rig.study.results.rungs[rung].done for rung in range(3)] == [27, 9, 3]


def test_each_attempt_succeeds_at_the_first_try_on_a_calm_cluster() -> None:
    rig = StudyRig(trials=27, slots=4)
    rig.run()

    outcomes = {a.outcome for trial in rig.study.trials for a in trial.attempts}
    assert outcomes == {Outcome.SUCCEEDED}
    assert all(len({a.rung for a in t.attempts}) == len(t.attempts) for t in rig.study.trials)


def test_no_more_attempts_are_in_flight_than_there_are_slots() -> None:
    rig = StudyRig(trials=40, slots=5)
    driver = rig.new_driver()
    most = 0

    class Watch:
        def applied(self, event: Event, study: Study) -> None:
            nonlocal most
            most = max(most, len(study.live))

        def message(self, text: str) -> None:
            pass

        def looked(self, overview: Mapping[str, Any]) -> None:
            pass

    driver.observer = Watch()
    rig.launch(driver)

    assert most == 5


def test_a_cluster_of_machines_that_serve_one_attempt_each_also_finishes() -> None:
    rig = StudyRig(trials=20, slots=4, levels=(1, 3), model={"reuse": False})

    assert rig.run() == "done"

    claims = Counter(slot.rsplit(".", 1)[0] for slot in rig.cluster.folder.claims.values())
    assert set(claims.values()) == {1}
    assert sum(a.size for a in rig.study.fleet.arrays.values()) == sum(claims.values())


def test_slots_that_stay_are_used_again() -> None:
    rig = StudyRig(trials=40, slots=4)
    rig.run()

    assert sum(array.size for array in rig.study.fleet.arrays.values()) == 4


def test_a_study_survives_preemption_node_failures_lost_replies_silences_and_refusals() -> None:
    rig = StudyRig(
        trials=81,
        slots=8,
        levels=(1, 3, 9),
        model={
            **ROUGH,
            "lost_replies": (Interval(0, 5), Interval(5000, 6000)),
            "silences": (Interval(100, 400), Interval(7000, 9000)),
            "refusals": (Interval(400, 1000), Interval(10_000, 11_000)),
        },
    )

    assert rig.run() == "done"

    assert_all_is_over(rig)
    assert len(rig.study.trials) == 81
    assert sum(0 in trial.values for trial in rig.study.trials) == 81
    spans = Counter(span.attempt for span in rig.cluster.attempt_spans())
    assert set(spans.values()) == {1}


def test_a_node_that_fails_costs_one_attempt_and_no_trial() -> None:
    rig = StudyRig(trials=4, slots=2, levels=(10,), scheduler=lambda: SingleRung(10))
    rig.clock.call_at(200.0, lambda: rig.cluster.fail_node("st-rig-1-1", 0))

    assert rig.run() == "done"

    outcomes = Counter(a.outcome for t in rig.study.trials for a in t.attempts)
    assert outcomes[Outcome.SUCCEEDED] == 4
    assert sum(outcomes.values()) == 5
    assert all(trial.state is TrialState.COMPLETED for trial in rig.study.trials)


def test_a_preempted_attempt_goes_on_from_its_checkpoint() -> None:
    rig = StudyRig(
        trials=1, slots=1, scheduler=lambda: SingleRung(10), model={"grace_seconds": 90.0}
    )
    rig.clock.call_at(200.0, lambda: rig.cluster.preempt("st-rig-1-1", 0))

    rig.run()

    first, second = rig.study.trials[0].attempts
    assert (first.outcome, second.outcome) == (Outcome.PREEMPTED, Outcome.SUCCEEDED)
    assert second.start == first.saved
    assert second.start > 0


def test_failing_configs_rank_last_and_the_others_go_on() -> None:
    rig = StudyRig(
        trials=30,
        slots=4,
        levels=(1, 3),
        program=CrashRegion(program=PowerLawCurves(), region=Region({"x1": (-5.0, -2.0)})),
    )

    assert rig.run() == "done"

    failed = [trial for trial in rig.study.trials if trial.state is TrialState.FAILED]
    assert failed
    assert all(float(trial.config["x1"]) <= -2.0 for trial in failed)
    assert all(trial.values == {0: None} for trial in failed)


def test_the_stopping_variant_stops_what_falls_behind() -> None:
    rig = StudyRig(trials=20, slots=4, scheduler=lambda: AshaStopping([1, 3, 9], 3))

    assert rig.run() == "done"

    states = Counter(trial.state for trial in rig.study.trials)
    assert set(states) == {TrialState.COMPLETED, TrialState.STOPPED}
    assert sum(states.values()) == 20


def test_an_exhausted_space_ends_the_study() -> None:
    class Three(HashSampler):
        def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
            return super().propose(trial, history, seed) if trial < 3 else None

    rig = StudyRig(trials=9, slots=2, levels=(1, 3), sampler=Three())

    assert rig.run() == "done"
    assert len(rig.study.trials) == 3


# ------------------------------------------------------------------ the same again


def test_the_same_seed_gives_the_same_journal_to_the_byte() -> None:
    def journal() -> bytes:
        rig = StudyRig(trials=40, slots=6, levels=(1, 3, 9), model=ROUGH)
        rig.run()
        return rig.frames()

    assert journal() == journal()


def test_the_journal_replays_to_the_identical_state() -> None:
    rig = StudyRig(trials=81, slots=8, levels=(1, 3, 9), model=ROUGH)
    rig.run()
    again = rig.empty_study()

    replay(again, rig.stored_records())

    assert snapshot(again) == snapshot(rig.study)


class Talkative(Asha):
    """Keeps what it is asked and what it answers."""

    def __init__(self) -> None:
        super().__init__([1, 3, 9], 3)
        self.talk: list[Any] = []

    def decide(self, *, may_start: bool) -> Decision | None:
        decision = super().decide(may_start=may_start)
        self.talk.append((may_start, decision))
        return decision

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        self.talk.append((trial, rung, loss))
        super().finished(trial, rung, loss)


def test_a_replay_asks_the_scheduler_the_same_and_gets_the_same_answers() -> None:
    rig = StudyRig(trials=81, slots=8, scheduler=Talkative, model=ROUGH)
    rig.run()
    again = rig.empty_study()

    replay(again, rig.stored_records())

    assert isinstance(again.scheduler, Talkative)
    assert isinstance(rig.study.scheduler, Talkative)
    assert again.scheduler.talk == rig.study.scheduler.talk
    assert len(again.scheduler.talk) > 81


def test_every_prefix_of_the_journal_replays() -> None:
    """A driver may die after any record."""
    rig = StudyRig(trials=9, slots=3, levels=(1, 3))
    rig.run()
    records = rig.stored_records()

    for length in range(len(records) + 1):
        replay(rig.empty_study(), records[:length])

    assert len(records) > 50


def test_no_trial_is_proposed_twice() -> None:
    rig = StudyRig(trials=60, slots=8, model=ROUGH)
    rig.run()

    assert [event["trial"] for event in rig.recorded("ConfigProposed")] == list(range(60))


def test_configs_do_not_depend_on_how_fast_the_cluster_is() -> None:
    fast = StudyRig(trials=40, slots=20, program=PowerLawCurves(seconds=5.0))
    slow = StudyRig(trials=40, slots=3, model=ROUGH, cluster_seed=77)
    fast.run()
    slow.run()

    assert configs(fast) == configs(slow)
    assert fast.study.attempt("t00000.r0.a1").slot != ""


class Onlooker(HashSampler):
    """Remembers how many finished rungs it saw at each proposal."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        self.seen.append(len(history.observations))
        return super().propose(trial, history, seed)


def test_a_sampler_sees_exactly_what_the_journal_holds_before_its_answer() -> None:
    """Otherwise a driver that goes on from the journal would draw another config."""
    sampler = Onlooker()
    rig = StudyRig(trials=40, slots=8, levels=(1, 3), sampler=sampler)
    rig.run()

    study = rig.empty_study()
    before = []
    for record in rig.stored_records():
        if record["e"]["t"] == "ConfigProposed":
            before.append(len(study.results.history.observations))
        replay(study, [record])
    assert sampler.seen == before


# ------------------------------------------------------------------ slots and arrays


class DeadSlots:
    """A backend whose slots end at once and claim nothing."""

    name = "dead"
    poll_seconds = 1.0
    submit_interval_seconds = 0.0

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.submitted: list[ArraySpec] = []
        self._tracked: list[ArraySpec] = []

    def limits(self) -> BackendLimits:
        return BackendLimits()

    def submit(self, array: ArraySpec) -> str:
        self.submitted.append(array)
        self._tracked.append(array)
        return "7"

    def find(self, token: str) -> str | None:
        return None

    def adopt(self, array: ArraySpec, job: str) -> None:
        pass

    def poll(self) -> Sequence[SlotStatus]:
        arrays, self._tracked = self._tracked, []
        return [
            SlotStatus(
                token=array.token,
                index=index,
                state=SlotState.ENDED,
                job=f"7_{index}",
                outcome=self.outcome,
            )
            for array in arrays
            for index in range(array.size)
        ]

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.LOST])
def test_slots_that_die_before_they_claim_anything_end_the_driver(outcome: Outcome) -> None:
    rig = StudyRig(trials=9, slots=4)
    backend = DeadSlots(outcome)

    with pytest.raises(BackendError, match="slots in a row ended before they could claim"):
        rig.launch(rig.new_driver(backend=backend))

    assert len(backend.submitted) == 1


class Waiting(DeadSlots):
    """Slots that never start, after what earlier ones did has been told."""

    def submit(self, array: ArraySpec) -> str:
        self.submitted.append(array)
        return "8"

    def take_over(self, arrays: Sequence[ArraySpec]) -> None:
        self._tracked = list(arrays)


def test_slots_that_died_under_an_earlier_launch_do_not_end_this_one() -> None:
    """What killed them, such as a line of [env], may have been mended in between."""
    rig = StudyRig(trials=9, slots=4, most_hours=0.1)
    first, second = Waiting(Outcome.FAILED), Waiting(Outcome.FAILED)
    with pytest.raises(AssertionError, match="goes on"):
        rig.launch(rig.new_driver(backend=first))
    assert sum(array.size for array in first.submitted) >= 4
    second.take_over(first.submitted)

    with pytest.raises(AssertionError, match="goes on"):
        rig.launch(rig.new_driver(backend=second))


class CancelledByHand(DeadSlots):
    """Slots that wait, and then are gone without a trace."""

    def __init__(self) -> None:
        super().__init__(Outcome.LOST)
        self._waiting: list[ArraySpec] = []

    def poll(self) -> Sequence[SlotStatus]:
        gone = super().poll()
        waiting = [
            SlotStatus(token=array.token, index=index, state=SlotState.PENDING, job=f"7_{index}")
            for array in self._waiting
            for index in range(array.size)
        ]
        self._tracked, self._waiting = self._waiting, []
        return [*gone, *waiting]

    def submit(self, array: ArraySpec) -> str:
        self.submitted.append(array)
        self._waiting.append(array)
        return "7"


def test_slots_cancelled_while_they_waited_are_replaced() -> None:
    rig = StudyRig(trials=9, slots=4, most_hours=0.1)
    backend = CancelledByHand()
    driver = rig.new_driver(backend=backend)
    said: list[str] = []
    driver.observer = _Listener(said)

    with pytest.raises(AssertionError, match="goes on"):
        rig.launch(driver)

    assert len(backend.submitted) > 3
    assert said[0].startswith("4 slots that waited left the queue, as after scancel")


class Crowded(DeadSlots):
    """A queue with room for one more job of the user."""

    def submit(self, array: ArraySpec) -> str:
        if array.size > 1:
            raise SubmissionRefusedError("no more jobs", retryable=True)
        return super().submit(array)


def test_fewer_slots_are_asked_for_where_there_is_no_room_for_all() -> None:
    rig = StudyRig(trials=9, slots=4, most_hours=0.1)
    backend = Crowded(Outcome.SUCCEEDED)
    driver = rig.new_driver(backend=backend)
    said: list[str] = []
    driver.observer = _Listener(said)

    with pytest.raises(AssertionError, match="goes on"):
        rig.launch(driver)

    assert backend.submitted
    assert said == ["no more jobs; the rest is submitted later"]


class NeedsEveryNode(DeadSlots):
    """A cluster that has no other node than those that fail."""

    def submit(self, array: ArraySpec) -> str:
        if dict(array.request.options).get("exclude"):
            raise SubmissionRefusedError("no such node is left")
        return super().submit(array)


def test_failing_nodes_are_used_when_there_are_no_others() -> None:
    rig = StudyRig(trials=9, slots=4, most_hours=0.1)
    backend = NeedsEveryNode(Outcome.SUCCEEDED)
    driver = rig.new_driver(backend=backend)
    said: list[str] = []
    driver.observer = _Listener(said)
    for _ in range(2):
        rig.study.nodes.note("n1", rig.clock.now())

    with pytest.raises(AssertionError, match="goes on"):
        rig.launch(driver)

    assert backend.submitted
    assert said[1:] == ["without n1 Slurm refuses (no such node is left): used again"]


def test_slots_that_leave_by_themselves_are_replaced() -> None:
    rig = StudyRig(trials=9, slots=1, most_hours=0.1)
    backend = DeadSlots(Outcome.SUCCEEDED)

    with pytest.raises(AssertionError, match="goes on"):
        rig.launch(rig.new_driver(backend=backend))

    assert len(backend.submitted) > 3


def test_an_array_is_never_larger_than_the_backend_takes() -> None:
    rig = StudyRig(trials=30, slots=10, levels=(1, 3), model={"max_array_size": 4})

    assert rig.run() == "done"

    sizes = [array.size for array in rig.study.fleet.arrays.values()]
    assert sizes == [4, 4, 2]


def test_no_more_slots_are_asked_for_than_the_backend_takes() -> None:
    rig = StudyRig(trials=30, slots=10, levels=(1, 3), model={"max_live_slots": 3})

    assert rig.run() == "done"
    assert sum(array.size for array in rig.study.fleet.arrays.values()) == 3


def test_a_refusal_for_good_ends_the_driver_and_is_recorded() -> None:
    class Refusing(DeadSlots):
        def submit(self, array: ArraySpec) -> str:
            raise SubmissionRefusedError("no such partition: gpuu")

    rig = StudyRig(trials=9, slots=4)

    with pytest.raises(SubmissionRefusedError, match="gpuu"):
        rig.launch(rig.new_driver(backend=Refusing(Outcome.FAILED)))

    assert [event["message"] for event in rig.recorded("ArrayRefused")] == [
        "no such partition: gpuu"
    ]


def test_limits_that_cannot_be_asked_for_now_are_asked_for_later() -> None:
    rig = StudyRig(trials=9, slots=4, levels=(1, 3))
    backend = rig.cluster.backend
    answers = 0

    class Shy:
        """The simulator's backend, which does not tell its limits at first."""

        def __getattr__(self, name: str) -> Any:
            return getattr(backend, name)

        def limits(self) -> BackendLimits:
            nonlocal answers
            answers += 1
            if answers < 3:
                raise BackendUnavailableError("scontrol: Unable to contact slurm controller")
            return backend.limits()

    driver = rig.new_driver()
    backend = rig.cluster.backend
    driver.backend = Shy()

    assert rig.launch(driver) == "done"


def test_a_slot_that_was_requeued_while_no_driver_looked_gives_its_attempt_back() -> None:
    """Slurm says PENDING: the attempt cannot be running there any more."""
    rig = StudyRig(
        trials=1,
        slots=1,
        scheduler=lambda: SingleRung(10),
        model={"requeue_delay_seconds": 36_000.0, "grace_seconds": 0.0},
    )
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    driver.tick()
    rig.clock.wait(30.0)
    driver.tick()
    assert rig.study.attempt("t00000.r0.a1").state is AttemptState.RUNNING
    rig.cluster.preempt("st-rig-1-1", 0)
    rig.clock.wait(600.0)

    again = rig.new_driver()
    again.open(rig.limits, "rig")
    for _ in range(20):
        again.tick()
        rig.clock.wait(30.0)

    assert rig.study.attempt("t00000.r0.a1").outcome is Outcome.PREEMPTED


def test_a_new_driver_knows_which_incarnations_are_over() -> None:
    """A slot that Slurm restarted, and that claimed since, lost what it ran before."""
    rig = StudyRig(
        trials=2,
        slots=1,
        scheduler=lambda: SingleRung(100),
        model={"requeue_delay_seconds": 0.0, "grace_seconds": 0.0, "max_live_slots": 1},
        grace_seconds=300.0,
        parallel=2,
    )
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    driver.tick()
    rig.clock.wait(30.0)
    driver.tick()
    rig.cluster.fail_node("st-rig-1-1", 0)
    rig.clock.wait(1.0)
    driver.tick()
    assert rig.study.attempt("t00000.r0.a1").slot == "st-rig-1-1.0.0"
    assert rig.study.attempt("t00001.r0.a1").slot == "st-rig-1-1.0.1"

    again = rig.new_driver()
    again.open(rig.limits, "rig")
    for _ in range(15):
        again.tick()
        rig.clock.wait(30.0)

    assert rig.study.attempt("t00000.r0.a1").outcome is Outcome.PREEMPTED
    assert rig.study.attempt("t00001.r0.a1").state is AttemptState.RUNNING


# ------------------------------------------------------------------ limits and commands


def test_wall_time_ends_the_study_and_what_runs_reaches_its_rung() -> None:
    rig = StudyRig(trials=1000, slots=4, levels=(1, 3), wall_seconds=3600.0)

    assert rig.run() == "wall_time"

    assert rig.clock.now() < 3600.0 + 4 * 60.0
    outcomes = {a.outcome for t in rig.study.trials for a in t.attempts}
    assert outcomes == {Outcome.SUCCEEDED, Outcome.CANCELLED}
    assert not rig.study.live


def test_gpu_hours_end_the_study() -> None:
    rig = StudyRig(trials=1000, slots=4, levels=(1, 3), limits={"gpu_hours": 1.0})

    assert rig.run() == "gpu_hours"
    assert 1.0 <= rig.study.used_gpu_hours() < 1.3


def stop_at(rig: StudyRig, seconds: float, trial: int | None = None) -> None:
    command = Command(name=f"stop-{trial}", verb="stop", trial=trial)
    rig.clock.call_at(seconds, lambda: rig.files.waiting.append(command))


def test_a_stop_command_ends_the_study_and_cancels_its_slots() -> None:
    rig = StudyRig(trials=1000, slots=4)
    stop_at(rig, 1000.0)

    assert rig.run() == "stopped"

    assert rig.clock.now() < 1200.0
    assert not rig.files.waiting
    rig.clock.wait(300.0)
    assert all(span.end < 1200.0 for span in rig.cluster.slot_spans())


def test_a_stopped_study_goes_on_at_the_next_launch() -> None:
    rig = StudyRig(trials=30, slots=4, levels=(1, 3, 9))
    stop_at(rig, 300.0)
    assert rig.run() == "stopped"

    assert rig.run() == "done"

    assert len(rig.study.trials) == 30
    assert all(trial.state is not TrialState.STOPPED for trial in rig.study.trials)


def test_a_study_whose_driver_died_while_it_stopped_goes_on_at_the_next_launch() -> None:
    """The attempts that were told to stop end as cancelled; nobody gave their trials up."""
    rig = StudyRig(
        trials=6, slots=3, scheduler=lambda: SingleRung(20), model={"grace_seconds": 120.0}
    )
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    for _ in range(10):
        driver.tick()
        rig.clock.wait(20.0)
    driver.feed([StopRequested(time=rig.clock.now(), trial=None)])

    assert rig.run() == "done"

    assert {trial.state for trial in rig.study.trials} == {TrialState.COMPLETED}


def test_one_trial_can_be_stopped_and_the_others_go_on() -> None:
    rig = StudyRig(trials=9, slots=3, levels=(5, 15))
    stop_at(rig, 100.0, trial=1)

    assert rig.run() == "done"

    assert rig.study.trials[1].state is TrialState.STOPPED
    stopped = [t.number for t in rig.study.trials if t.state is TrialState.STOPPED]
    assert stopped == [1]


@pytest.mark.parametrize("trial", [77, -1])
def test_a_stop_of_a_trial_that_does_not_exist_changes_nothing(trial: int) -> None:
    rig = StudyRig(trials=9, slots=3, levels=(1, 3))
    stop_at(rig, 30.0, trial=trial)

    assert rig.run() == "done"

    assert rig.recorded("StopRequested") == []
    assert not rig.files.waiting


def test_an_unknown_command_is_told_and_forgotten() -> None:
    rig = StudyRig(trials=3, slots=3, levels=(1, 3))
    rig.files.waiting.append(Command(name="x", verb="dance"))
    said: list[str] = []
    driver = rig.new_driver()
    driver.observer = _Listener(said)

    assert rig.launch(driver) == "done"
    assert said == ["unknown command 'dance' is ignored"]


class _Listener:
    def __init__(self, said: list[str]) -> None:
        self._said = said

    def applied(self, event: Event, study: Study) -> None:
        pass

    def message(self, text: str) -> None:
        self._said.append(text)

    def looked(self, overview: Mapping[str, Any]) -> None:
        pass


def test_a_silence_is_told_once_and_its_end_too() -> None:
    rig = StudyRig(
        trials=20,
        slots=2,
        levels=(3, 9),
        model={"silences": (Interval(100.0, 1000.0),), "poll_seconds": 10.0},
    )
    said: list[str] = []
    driver = rig.new_driver()
    driver.observer = _Listener(said)

    rig.launch(driver)

    assert len(said) == 2
    assert said[0].startswith("simulator does not answer")
    assert said[1] == "simulator answers again"


# ------------------------------------------------------------------ adaptive capacity


def capacities(rig: StudyRig) -> list[int]:
    return [event["attempts"] for event in rig.recorded("CapacityChanged")]


def test_offers_are_kept_ahead_when_attempts_are_shorter_than_a_look() -> None:
    rig = StudyRig(
        trials=400,
        slots=4,
        scheduler=lambda: SingleRung(1),
        program=PowerLawCurves(seconds=2.0),
        adaptive=True,
        longest_tick_seconds=2.0,
        woken=False,
    )

    assert rig.run() == "done"

    assert max(capacities(rig)) > 4


def test_no_offer_is_kept_ahead_when_attempts_are_long() -> None:
    rig = StudyRig(
        trials=40, slots=4, levels=(1, 3), adaptive=True, longest_tick_seconds=2.0, woken=False
    )

    assert rig.run() == "done"

    assert set(capacities(rig)) == {4}


@pytest.mark.parametrize("seconds", [2.0, 5.0, 10.0, 20.0, 40.0])
def test_the_capacity_seldom_changes(seconds: float) -> None:
    """Each change is a record and a sync; a capacity that swings would keep the loop awake."""
    rig = StudyRig(
        trials=300,
        slots=4,
        scheduler=lambda: SingleRung(1),
        program=PowerLawCurves(seconds=seconds, seconds_spread=0.5),
        adaptive=True,
        shortest_tick_seconds=0.25,
        longest_tick_seconds=5.0,
        woken=False,
    )

    rig.run()

    assert len(capacities(rig)) < 30


def test_waits_get_longer_while_nothing_happens_also_when_the_capacity_adapts() -> None:
    rig = StudyRig(
        trials=40,
        slots=1,
        scheduler=lambda: SingleRung(1),
        program=PowerLawCurves(seconds=20.0),
        adaptive=True,
        shortest_tick_seconds=0.25,
        longest_tick_seconds=5.0,
        woken=False,
    )
    driver = rig.new_driver()
    ticks = 0
    poll = rig.cluster.backend.poll

    def counting() -> Sequence[SlotStatus]:
        nonlocal ticks
        ticks += 1
        return poll()

    rig.cluster.backend.poll_seconds = 0.0
    rig.cluster.backend.poll = counting  # type: ignore[method-assign]
    rig.launch(driver)

    assert ticks < 40 * 16


# ------------------------------------------------------------------ an owner that lost its study


class TakenOver(MemoryJournal):
    """A journal that another driver takes over at some time."""

    is_taken = False

    def check_owner(self) -> None:
        if self.is_taken:
            raise DriverFencedError("another driver took it over")


class CountingFiles(NoFiles):
    def __init__(self) -> None:
        self.beats: list[tuple[float, bool]] = []

    def beat(self, now: float, *, released: bool = False) -> None:
        self.beats.append((now, released))


def test_a_driver_that_has_nothing_to_do_notices_that_it_was_replaced() -> None:
    """Its beat would make the new driver's lease its own."""
    rig = StudyRig(trials=2, slots=2, scheduler=lambda: SingleRung(1000), most_hours=3.0)
    journal, files = TakenOver(), CountingFiles()
    driver = rig.new_driver(journal=journal, files=files)
    rig.clock.call_at(1000.0, lambda: setattr(journal, "is_taken", True))

    with pytest.raises(DriverFencedError):
        rig.launch(driver)

    assert rig.clock.now() < 1100.0
    assert max(time for time, _ in files.beats) <= 1000.0


def test_a_driver_that_was_replaced_does_not_release_the_lease_when_it_is_told_to_leave() -> None:
    rig = StudyRig(trials=2, slots=2)
    journal, files = TakenOver(), CountingFiles()
    driver = rig.new_driver(journal=journal, files=files)
    driver.open(rig.limits, "rig")
    journal.is_taken = True
    driver.detach()

    with pytest.raises(DriverFencedError):
        driver.run()

    assert not any(released for _, released in files.beats)


def test_a_driver_that_was_replaced_submits_nothing_more() -> None:
    """Also not what it had intended before it was replaced."""
    rig = StudyRig(trials=9, slots=3, model={"silences": (Interval(0.0, 100.0),)})
    journal = TakenOver()
    driver = rig.new_driver(journal=journal)
    driver.open(rig.limits, "rig")
    driver.tick()
    journal.is_taken = True
    rig.clock.wait(200.0)
    driver._next_beat = 1e9

    with pytest.raises(DriverFencedError):
        driver.tick()

    assert rig.cluster.backend.find("st-rig-1-1") is None


def test_a_driver_that_leaves_on_purpose_releases_its_lease_and_slots_go_on() -> None:
    rig = StudyRig(trials=9, slots=3)
    files = CountingFiles()
    driver = rig.new_driver(files=files)
    rig.clock.call_at(30.0, driver.detach)

    assert rig.launch(driver) == "detached"

    assert files.beats[-1][1]
    rig.clock.wait(100.0)
    assert rig.cluster.folder.records("t00000.r0.a1", 0)


# ------------------------------------------------------------------ odd records


def test_a_record_of_an_attempt_that_nobody_knows_is_ignored() -> None:
    rig = StudyRig(trials=9, slots=3)
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    before = rig.frames()
    strange = AttemptReported(
        time=1.0, attempt="t00099.r0.a1", seq=1, resource=1, metrics={"val_loss": 0.0}
    )

    assert driver.feed([strange]) is False
    assert rig.frames() == before


def test_the_settings_of_the_loop_are_a_value() -> None:
    rig = StudyRig(trials=1, slots=1)

    assert dataclasses.is_dataclass(rig.new_driver().settings)


def test_late_records_of_an_attempt_that_was_given_up_are_ignored() -> None:
    rig = StudyRig(trials=1, slots=1, scheduler=lambda: SingleRung(10))
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    driver.feed(
        [
            AttemptEnded(
                time=1.0, attempt="t00000.r0.a1", seq=None, outcome=Outcome.LOST, seconds=0.0
            )
        ]
    )
    late = AttemptReported(
        time=2.0, attempt="t00000.r0.a1", seq=1, resource=10, metrics={"val_loss": 0.0}
    )

    assert driver.feed([late]) is False
    assert rig.study.attempt("t00000.r0.a2").is_live


def test_a_scheduler_is_what_the_rig_was_given() -> None:
    made: list[Scheduler] = []

    def make() -> Scheduler:
        made.append(SingleRung(1))
        return made[-1]

    rig = StudyRig(trials=1, slots=1, scheduler=make)
    driver: Driver = rig.new_driver()

    assert driver.study.scheduler is made[-1]


# ------------------------------------------------------------------ any cluster


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    slots=st.integers(1, 6),
    reuse=st.booleans(),
    requeue=st.booleans(),
    wait=st.sampled_from([0.0, 30.0, 3000.0]),
    accidents=st.sampled_from([0.0, 0.3, 2.0]),
    delay=st.sampled_from([0.0, 5.0, 45.0]),
    grace=st.sampled_from([0.0, 30.0, 90.0]),
    limit=st.sampled_from([None, 400, 1200]),
    sizes=st.sampled_from([None, 1, 3]),
    adaptive=st.booleans(),
    woken=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_study_ends_on_every_cluster_and_can_be_replayed(
    *,
    slots: int,
    reuse: bool,
    requeue: bool,
    wait: float,
    accidents: float,
    delay: float,
    grace: float,
    limit: int | None,
    sizes: int | None,
    adaptive: bool,
    woken: bool,
    seed: int,
) -> None:
    rig = StudyRig(
        trials=15,
        slots=slots,
        levels=(1, 3, 9),
        cluster_seed=seed,
        adaptive=adaptive,
        woken=woken,
        requests={"c0": ResourceRequest(name="c0", gpus=1, time_limit_seconds=limit)},
        limits={"retry_timeout": 3, "retry_node_fail": 50, "retry_preempted": 50},
        model={
            "reuse": reuse,
            "requeue": requeue,
            "queue_wait": Exponential(wait),
            "preemptions_per_hour": accidents,
            "node_failures_per_hour": accidents / 2,
            "visibility_delay_seconds": delay,
            "grace_seconds": grace,
            "checkpoint_every": 1,
            "max_array_size": sizes,
            "max_live_slots": sizes and 2 * sizes,
        },
    )

    reason = rig.run()

    assert reason in {"done", "paused"}
    assert_all_is_over(rig)
    assert max(Counter(span.attempt for span in rig.cluster.attempt_spans()).values()) == 1
    again = rig.empty_study()
    replay(again, rig.stored_records())
    assert snapshot(again) == snapshot(rig.study)


# ------------------------------------------------------------------ classes that ask for different things


class IdleFiles(NoFiles):
    """Remembers who was told to leave."""

    def __init__(self) -> None:
        self.told: list[frozenset[str]] = []

    def announce_idle(self, classes: frozenset[str]) -> None:
        self.told.append(classes)


def test_slots_of_one_rung_do_not_keep_the_next_one_waiting() -> None:
    """Rung 1 asks for more: its slots are submitted although those of rung 0 still live."""
    limits = {"rung_classes": ("c0", "c1"), "gpus": {"c0": 1, "c1": 2}}
    requests = {"c0": ResourceRequest(name="c0", gpus=1), "c1": ResourceRequest(name="c1", gpus=2)}
    files = IdleFiles()
    rig = StudyRig(
        trials=9,
        slots=4,
        levels=(1, 3),
        limits=limits,
        model={"linger_seconds": 3600.0},
        most_hours=8.0,
        requests=requests,
    )
    driver = rig.new_driver(files=files)

    rig.launch(driver)

    assert {array.resource_class for array in rig.study.fleet.arrays.values()} == {"c0", "c1"}
    assert frozenset({"c0"}) in files.told
    assert rig.study.results.rungs[1].done == rig.study.results.rungs[0].promoted


def test_a_new_class_of_the_spec_does_not_wait_for_slots_of_the_old_one() -> None:
    """The partition was changed while nothing had started: the old slots are cancelled."""
    rig = StudyRig(
        trials=3, slots=2, levels=(1, 3), model={"queue_wait": Constant(1e6)}, most_hours=400.0
    )
    driver = rig.new_driver()
    driver.open(rig.limits, "x")
    driver.tick()
    rig.clock.wait(60.0)
    driver.tick()
    (old,) = rig.study.fleet.live_arrays
    rig.cluster.restart_driver()
    again = rig.new_driver()
    again.settings = dataclasses.replace(
        again.settings, requests={"c9": ResourceRequest(name="c9")}
    )
    again.open(dataclasses.replace(rig.limits, rung_classes=("c9",)), "y")
    for _ in range(4):
        again.tick()
        rig.clock.wait(60.0)

    classes = {array.resource_class for array in again.study.fleet.live_arrays.values()}
    assert classes == {"c9"}
    assert old not in again.study.fleet.live_arrays


def test_an_attempt_whose_job_was_cancelled_is_repeated_and_its_trial_not_given_up() -> None:
    """A slot that is killed at once cannot say that it was told to leave; it means the same."""
    rig = StudyRig(trials=3, slots=2, levels=(10, 30), model={"grace_seconds": 0.0})
    driver = rig.new_driver()
    driver.open(rig.limits, "x")
    for _ in range(3):
        driver.tick()
        rig.clock.wait(5.0)
    (running,) = (a for a in rig.study.live.values() if a.trial == 0)
    assert running.state is AttemptState.RUNNING
    token, index, _ = running.slot.rsplit(".", 2)
    rig.cluster.backend.cancel(token, [int(index)])

    assert driver.run() == "done"

    assert running.outcome is Outcome.PREEMPTED
    assert TrialState.STOPPED not in {trial.state for trial in rig.study.trials}
    assert None not in rig.study.trials[0].values.values()


def test_the_overview_knows_what_the_driver_was_told_of_the_spec() -> None:
    request = ResourceRequest(name="c0", gpus=1, array_limit=2)
    rig = StudyRig(trials=3, slots=4, requests={"c0": request}, expected_trials=5)
    around = rig.new_driver().surroundings(0.0)

    assert (around.parallel, around.array_limit, around.expected_trials) == (4, 2, 5)


def test_without_a_limit_of_the_user_none_is_told() -> None:
    assert StudyRig(trials=3, slots=4).new_driver().surroundings(0.0).array_limit is None
