"""The simulated cluster: the contract of backends, and what only a simulator can be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.backends.base import ArraySpec, Backend, Clock, Exchange, SlotState, SlotStatus
from slurmtune.backends.simulator import (
    ClusterModel,
    Constant,
    Exponential,
    Interval,
    LogNormal,
    ProgramFailedError,
    SimulatedCluster,
    Uniform,
    VirtualClock,
)
from slurmtune.core.actions import Offer
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CheckpointSaved,
    Config,
    OfferWithdrawn,
    Resource,
)
from slurmtune.core.ids import attempt_id
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.errors import BackendUnavailableError, SpecError, SubmissionRefusedError
from slurmtune.testing.backend_contract import BackendContract, Rig

Written = AttemptStarted | AttemptReported | CheckpointSaved | AttemptEnded
Kind = TypeVar("Kind", bound=Written)


@dataclass(frozen=True)
class Steady:
    """A program that takes ``config["seconds"]`` for a unit and reports 1 / unit."""

    startup: float = 0.0

    def startup_seconds(self, config: Config) -> float:
        return self.startup

    def seconds_per_unit(self, config: Config) -> float:
        return float(config["seconds"])

    def metrics(self, config: Config, resource: Resource, seed: int) -> dict[str, float]:
        if resource >= float(config.get("fails_at", "inf")):
            raise ProgramFailedError("out of memory", outcome=Outcome.OUT_OF_MEMORY, exit_code=137)
        return {"loss": 1.0 / resource}


class SimulatorRig:
    """A simulated cluster as the contract wants it."""

    capacity: int | None = 3
    unit_seconds = 10.0
    turn_seconds = 5.0
    turns = 200

    def __init__(self, **changes: Any) -> None:
        self._clock = VirtualClock()
        model = ClusterModel(
            slots=3, queue_wait=Uniform(0.0, 30.0), startup=Constant(5.0), poll_seconds=5.0
        )
        self.cluster = SimulatedCluster(
            self._clock, program=Steady(), model=replace(model, **changes), seed=5
        )
        self.clock: Clock = self._clock
        self.backend: Backend = self.cluster.backend
        self.exchange: Exchange = self.cluster.exchange

    def array(self, token: str, size: int, resource_class: str) -> ArraySpec:
        return make_array(token, size, resource_class=resource_class)

    def restart(self) -> None:
        self.cluster.restart_driver()
        self.backend, self.exchange = self.cluster.backend, self.cluster.exchange

    def close(self) -> None:
        pass


class TestSimulator(BackendContract):
    def make_rig(self, tmp_path: Path) -> Rig:
        return SimulatorRig()


class TestSimulatorWithSlowFiles(BackendContract):
    def make_rig(self, tmp_path: Path) -> Rig:
        return SimulatorRig(visibility_delay_seconds=2.5)


def make_array(
    token: str = "alpha",
    size: int = 1,
    *,
    resource_class: str = "c0",
    limit: int | None = None,
    array_limit: int | None = None,
) -> ArraySpec:
    request = ResourceRequest(
        name=resource_class, time_limit_seconds=limit, array_limit=array_limit
    )
    return ArraySpec(token=token, request=request, size=size, manifest_sha256="")


@dataclass
class Bench:
    """A cluster with a driver that only looks."""

    model: ClusterModel
    seed: int = 0
    program: Steady = field(default_factory=Steady)
    events: list[Written] = field(default_factory=list)
    claims: list[AttemptClaimed] = field(default_factory=list)
    statuses: list[SlotStatus] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.cluster = SimulatedCluster(
            self.clock, program=self.program, model=self.model, seed=self.seed
        )

    def submit(self, token: str = "alpha", **array: Any) -> None:
        self.cluster.backend.submit(make_array(token, **array))

    def offer(self, trial: int = 0, *, units: Resource | None = 3, **changes: Any) -> Offer:
        offer = Offer(
            attempt=attempt_id(trial, 0, 1),
            trial=trial,
            rung=0,
            config={"seconds": 10.0},
            start=0,
            end=units,
            checkpoint=None,
            seed=trial,
            priority=1,
            resource_class="c0",
        )
        offer = replace(offer, **changes)
        self.cluster.exchange.publish(offer)
        self.cluster.exchange.watch(offer.attempt, offered=True)
        return offer

    def run(self, until: float, *, poll_every: float = 10.0) -> None:
        next_poll = self.clock.now()
        while self.clock.now() < until:
            if self.clock.now() >= next_poll:
                next_poll += poll_every
                self.statuses.extend(self.cluster.backend.poll())
            self.clock.wait(min(until, next_poll) - self.clock.now())
            for event in self.cluster.exchange.read(self.clock.now()):
                if isinstance(event, AttemptClaimed):
                    self.claims.append(event)
                else:
                    assert isinstance(event, Written)
                    self.events.append(event)
        self.statuses.extend(self.cluster.backend.poll())

    def kinds(self, attempt: str = "t00000.r0.a1") -> list[str]:
        return [type(event).__name__ for event in self.events if event.attempt == attempt]

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[Kind]) -> Kind:
        (event,) = self.all(kind)
        return event

    def last(self) -> SlotStatus:
        return self.statuses[-1]


def bench(**model: Any) -> Bench:
    return Bench(ClusterModel(**{"slots": 2, "linger_seconds": 1000.0, **model}))


def accident_at(cluster_bench: Bench, seconds: float, accident: Callable[[], object]) -> None:
    def happen() -> None:
        accident()

    cluster_bench.clock.call_in(seconds, happen)


# Time


def test_the_clock_jumps_to_what_the_driver_can_see() -> None:
    world = bench()
    world.submit()
    world.offer()
    world.clock.wait(1000.0)
    assert world.clock.now() == 0.0

    world.clock.wait(1000.0)

    assert world.clock.now() == 10.0


def test_the_clock_jumps_to_the_end_of_the_wait_when_nothing_can_be_seen() -> None:
    world = bench()
    world.submit()

    world.clock.wait(123.0)

    assert world.clock.now() == 123.0


def test_a_wait_is_not_shorter_than_the_least_wait() -> None:
    clock = VirtualClock(least_wait_seconds=2.0)
    clock.call_at(0.5, clock.wake)

    clock.wait(10.0)

    assert clock.now() == 2.0


def test_what_is_due_at_the_same_time_happens_in_the_order_of_scheduling() -> None:
    clock = VirtualClock()
    seen: list[int] = []
    for number in range(5):
        clock.call_at(1.0, partial(seen.append, number))

    clock.wait(1.0)

    assert seen == [0, 1, 2, 3, 4]


def test_what_is_cancelled_does_not_happen() -> None:
    clock = VirtualClock()
    seen: list[int] = []
    clock.call_at(1.0, lambda: seen.append(1)).cancel()

    clock.wait(2.0)

    assert seen == []


def test_an_endless_wait_is_refused() -> None:
    with pytest.raises(ValueError, match="inf"):
        VirtualClock().wait(float("inf"))


# An undisturbed attempt


def test_reports_come_at_every_unit_and_cost_the_program_s_seconds() -> None:
    world = bench(startup=Constant(7.0))
    world.submit()
    world.offer()

    world.run(100.0)

    times = [event.time for event in world.all(AttemptReported)]
    assert times == [17.0, 27.0, 37.0]
    assert world.one(AttemptEnded).seconds == 30.0


def test_reports_may_come_only_at_the_end() -> None:
    world = bench(report_every=None)
    world.submit()
    world.offer()

    world.run(100.0)

    assert world.one(AttemptReported).resource == 3
    assert world.one(AttemptReported).time == 30.0


def test_the_checkpoint_of_the_end_is_saved_before_the_end() -> None:
    world = bench()
    world.submit()
    world.offer()

    world.run(100.0)

    assert world.kinds()[-2:] == ["CheckpointSaved", "AttemptEnded"]
    assert world.one(CheckpointSaved).name == "3.t00000.r0.a1"


def test_checkpoints_may_come_more_often() -> None:
    world = bench(report_every=None, checkpoint_every=2)
    world.submit()
    world.offer(units=5)

    world.run(100.0)

    saved = [event.resource for event in world.all(CheckpointSaved)]
    assert saved == [2, 4, 5]


def test_an_attempt_goes_on_from_its_checkpoint() -> None:
    world = bench()
    world.submit()
    world.offer()
    world.run(100.0)
    world.events.clear()

    world.offer(attempt="t00000.r1.a1", rung=1, units=5, start=3, checkpoint="3.t00000.r0.a1")
    world.run(200.0)

    assert world.one(AttemptStarted).start == 3
    resources = [event.resource for event in world.all(AttemptReported)]
    assert resources == [4, 5]
    assert world.cluster.folder.checkpoints(0) == ("3.t00000.r0.a1", "5.t00000.r1.a1")


def test_an_evaluation_of_its_own_begins_where_the_one_below_ends() -> None:
    world = bench()
    world.submit()
    world.offer(attempt="t00000.r1.a1", rung=1, units=4, start=3)
    world.run(200.0)

    assert world.one(AttemptStarted).start == 3
    assert [event.resource for event in world.all(AttemptReported)] == [4]


def test_an_offer_without_end_ends_where_the_model_says() -> None:
    world = bench(open_end=4)
    world.submit()
    world.offer(units=None)

    world.run(100.0)

    assert world.one(AttemptEnded).seconds == 40.0


def test_resources_may_be_fractions() -> None:
    world = bench()
    world.submit()
    world.offer(units=1.5)

    world.run(100.0)

    resources = [event.resource for event in world.all(AttemptReported)]
    assert resources == [1, 1.5]
    assert world.one(CheckpointSaved).name == "1.5.t00000.r0.a1"


def test_the_slot_starts_up_once_and_the_program_for_each_attempt() -> None:
    world = bench(startup=Constant(100.0))
    world.program = Steady(startup=7.0)
    world.__post_init__()
    world.submit()
    world.offer(0, units=1)
    world.offer(1, units=1)

    world.run(300.0)

    ends = [event.time for event in world.all(AttemptEnded)]
    assert ends == [117.0, 134.0]


def test_a_failing_program_says_why() -> None:
    world = bench()
    world.submit()
    world.offer(config={"seconds": 10.0, "fails_at": 2})

    world.run(100.0)

    end = world.one(AttemptEnded)
    assert (end.outcome, end.exit_code, end.cause) == (
        Outcome.OUT_OF_MEMORY,
        137,
        "out of memory",
    )
    assert world.kinds() == ["AttemptStarted", "AttemptReported", "AttemptEnded"]


def test_a_slot_goes_on_after_a_failed_attempt() -> None:
    world = bench()
    world.submit()
    world.offer(0, config={"seconds": 10.0, "fails_at": 2})
    world.offer(1)

    world.run(100.0)

    assert world.kinds("t00001.r0.a1")[-1] == "AttemptEnded"


def test_a_slot_leaves_after_one_attempt_when_it_is_not_reused() -> None:
    world = bench(reuse=False)
    world.submit()
    world.offer(0)
    world.offer(1)

    world.run(100.0)

    assert world.last().outcome is Outcome.SUCCEEDED
    assert world.kinds("t00001.r0.a1") == []


def test_a_stopped_attempt_saves_at_the_end_of_the_running_unit() -> None:
    world = bench()
    world.submit()
    offer = world.offer(units=50)
    world.run(23.0)

    world.cluster.exchange.request_stop(offer.attempt)
    world.run(100.0)

    assert world.one(CheckpointSaved).resource == 3
    end = world.one(AttemptEnded)
    assert (end.outcome, end.seconds) == (Outcome.CANCELLED, 30.0)


def test_a_slot_goes_on_after_a_stopped_attempt() -> None:
    world = bench()
    world.submit()
    first = world.offer(0, units=50)
    world.offer(1, units=1)
    world.run(23.0)

    world.cluster.exchange.request_stop(first.attempt)
    world.run(100.0)

    assert world.kinds("t00001.r0.a1")[-1] == "AttemptEnded"


# The queue


def test_a_slot_waits_in_the_queue() -> None:
    world = bench(queue_wait=Constant(40.0))
    world.submit()

    world.run(30.0)
    assert (world.last().state, world.last().start_estimate) == (SlotState.PENDING, 40.0)

    world.run(50.0)
    assert (world.last().state, world.last().node) == (SlotState.RUNNING, "sim0000")


def test_idle_slots_leave_when_no_more_work_comes() -> None:
    world = bench()
    world.submit(size=2)
    world.run(30.0)

    world.cluster.announce_end(finished=True)
    world.run(40.0)

    assert [status.outcome for status in world.statuses[-2:]] == [Outcome.SUCCEEDED] * 2


def test_slots_that_start_after_the_end_leave_at_once() -> None:
    world = bench(startup=Constant(5.0))
    world.cluster.announce_end(finished=True)
    world.submit()

    world.run(10.0)

    assert world.last().outcome is Outcome.SUCCEEDED


def test_no_more_slots_run_than_there_are_machines() -> None:
    world = bench()
    world.submit(size=5)

    states = [status.state for status in world.cluster.backend.poll()]

    assert states == [SlotState.PENDING] * 5
    world.run(10.0)
    states = [status.state for status in world.statuses[-5:]]
    assert states == [SlotState.RUNNING] * 2 + [SlotState.PENDING] * 3


def test_an_array_limit_holds_its_own_slots_back() -> None:
    world = bench(linger_seconds=50.0)
    world.submit(token="alpha", size=3, array_limit=1)
    world.submit(token="beta", size=1)

    world.run(1.0)
    running = [(s.token, s.index) for s in world.statuses[-4:] if s.state is SlotState.RUNNING]
    assert running == [("alpha", 0), ("beta", 0)]

    world.run(200.0)
    assert len([s for s in world.statuses if s.state is SlotState.ENDED]) == 4


def test_a_cancelled_slot_does_not_hold_up_those_behind_it() -> None:
    world = bench(linger_seconds=50.0)
    world.submit(size=4, array_limit=1)
    world.run(10.0)

    world.cluster.backend.cancel("alpha", [1, 2])
    world.run(60.0)

    assert (world.last().index, world.last().state) == (3, SlotState.RUNNING)


def test_a_withdrawn_offer_is_told_to_whoever_watches_it_later() -> None:
    world = bench()
    offer = world.offer()
    world.cluster.exchange.withdraw(offer.attempt)

    world.cluster.exchange.watch(offer.attempt, offered=True)

    (event,) = world.cluster.exchange.read(0.0)
    assert isinstance(event, OfferWithdrawn)


# What goes wrong


def test_preemption_with_grace_saves_and_queues_again() -> None:
    world = bench(requeue_delay_seconds=100.0)
    world.submit()
    world.offer(units=50)
    accident_at(world, 23.0, lambda: world.cluster.preempt("alpha", 0))

    world.run(60.0)

    assert world.one(CheckpointSaved).resource == 3
    assert world.one(AttemptEnded).outcome is Outcome.PREEMPTED
    assert world.last().state is SlotState.PENDING
    world.offer(1)
    world.run(200.0)
    starts = [event.slot for event in world.all(AttemptStarted)]
    assert starts == ["alpha.0.0", "alpha.0.1"]


def test_preemption_with_too_little_grace_saves_nothing() -> None:
    world = bench(grace_seconds=2.0)
    world.submit()
    world.offer(units=50)
    accident_at(world, 23.0, lambda: world.cluster.preempt("alpha", 0))

    world.run(60.0)

    assert "CheckpointSaved" not in world.kinds()
    end = world.one(AttemptEnded)
    assert (end.outcome, end.seconds, end.exit_code) == (Outcome.PREEMPTED, 25.0, None)


@pytest.mark.parametrize("accident", ["preempt", "fail_node"])
def test_without_grace_there_is_no_record(accident: str) -> None:
    world = bench(grace_seconds=0.0, requeue=False)
    world.submit()
    world.offer(units=50)
    accident_at(world, 23.0, lambda: getattr(world.cluster, accident)("alpha", 0))

    world.run(60.0)

    assert world.kinds() == ["AttemptStarted", "AttemptReported", "AttemptReported"]
    expected = Outcome.PREEMPTED if accident == "preempt" else Outcome.NODE_FAILED
    assert world.last().outcome is expected


def test_a_node_failure_queues_the_slot_again() -> None:
    world = bench()
    world.submit()
    world.offer(units=50)
    accident_at(world, 23.0, lambda: world.cluster.fail_node("alpha", 0))

    world.run(60.0)

    assert world.last().state is SlotState.PENDING
    assert "AttemptEnded" not in world.kinds()


def test_an_attempt_of_a_lost_slot_is_not_claimed_again() -> None:
    world = bench()
    world.submit()
    world.offer(units=50)
    accident_at(world, 23.0, lambda: world.cluster.fail_node("alpha", 0))

    world.run(1000.0)

    assert world.kinds().count("AttemptStarted") == 1
    assert world.cluster.folder.claims == {"t00000.r0.a1": "alpha.0.0"}


def test_a_cancelled_slot_stays_cancelled_when_its_node_fails() -> None:
    world = bench()
    world.submit()
    world.offer(units=50)
    world.run(23.0)
    world.cluster.backend.cancel("alpha")
    accident_at(world, 1.0, lambda: world.cluster.fail_node("alpha", 0))

    world.run(60.0)

    assert world.last().outcome is Outcome.CANCELLED


def test_the_time_limit_ends_the_attempt_in_time() -> None:
    world = bench(grace_seconds=30.0)
    world.submit(limit=200)
    world.offer(units=50)

    world.run(300.0)

    end = world.one(AttemptEnded)
    assert (end.outcome, end.seconds) == (Outcome.TIMEOUT, 170.0)
    assert world.one(CheckpointSaved).resource == 17
    assert (world.last().outcome, world.last().reason) == (Outcome.TIMEOUT, "TimeLimit")


def test_a_program_that_overruns_the_limit_is_killed_at_the_limit() -> None:
    world = bench(grace_seconds=30.0)
    world.submit(limit=200)
    world.offer(config={"seconds": 150.0})

    world.run(300.0)

    assert world.one(AttemptEnded).seconds == 200.0
    assert "CheckpointSaved" not in world.kinds()


def test_no_further_attempt_is_started_shortly_before_the_limit() -> None:
    world = bench()
    world.submit(limit=500)
    world.offer(0, units=45)
    world.offer(1, rung=1)

    world.run(600.0)

    assert world.kinds("t00000.r0.a1")[-1] == "AttemptEnded"
    assert world.kinds("t00001.r0.a1") == []
    assert world.last().outcome is Outcome.SUCCEEDED


def test_no_attempt_is_started_that_takes_longer_than_what_remains() -> None:
    world = bench()
    world.submit(limit=250)
    world.offer(0, units=15)
    world.offer(1, units=15)

    world.run(300.0)

    assert world.kinds("t00001.r0.a1") == []


def test_an_offer_that_fits_is_taken_before_a_better_one_that_does_not() -> None:
    world = bench()
    world.submit(limit=250)
    world.offer(0, units=15)
    world.offer(1, units=15)
    world.offer(2, units=2, rung=1, priority=5)

    world.run(300.0)

    assert world.kinds("t00001.r0.a1") == []
    assert world.kinds("t00002.r0.a1")[-1] == "AttemptEnded"


def test_an_idle_slot_leaves_before_its_limit() -> None:
    world = bench()
    world.submit(limit=100)

    world.run(300.0)

    assert world.last().outcome is Outcome.SUCCEEDED


def test_an_offer_that_one_slot_has_no_time_for_goes_to_the_next() -> None:
    world = bench(slots=1, queue_wait=Constant(0.0))
    world.submit(token="alpha", limit=300)
    world.offer(0, units=20)
    world.run(205.0)
    world.offer(1)
    world.submit(token="beta")

    world.run(400.0)

    starts = [event.slot for event in world.all(AttemptStarted)]
    assert starts == ["alpha.0.0", "beta.0.0"]


def test_silence_gives_no_answer_to_anything() -> None:
    world = bench(silences=(Interval(0.0, 50.0),))
    backend = world.cluster.backend

    for ask in (
        lambda: backend.submit(make_array()),
        lambda: backend.find("alpha"),
        backend.poll,
        lambda: backend.cancel("alpha"),
    ):
        with pytest.raises(BackendUnavailableError):
            ask()
    world.clock.wait(50.0)

    assert backend.find("alpha") is None


def test_slots_go_on_during_a_silence() -> None:
    world = bench(silences=(Interval(5.0, 1000.0),))
    world.submit()
    world.offer()

    for _ in range(10):
        world.clock.wait(10.0)

    (*_, last) = world.cluster.exchange.read(world.clock.now())
    assert isinstance(last, AttemptEnded)


def test_a_lost_reply_leaves_an_array_that_can_be_found() -> None:
    world = bench(lost_replies=(Interval(0.0, 1.0),))

    with pytest.raises(BackendUnavailableError):
        world.submit()

    job = world.cluster.backend.find("alpha")
    assert job == "1001"
    assert world.cluster.backend.poll() == []
    world.cluster.backend.adopt(make_array(), job)
    assert len(world.cluster.backend.poll()) == 1


def test_a_refusal_is_a_clear_no_for_now() -> None:
    world = bench(refusals=(Interval(0.0, 1.0),))

    with pytest.raises(SubmissionRefusedError) as error:
        world.submit()

    assert error.value.retryable
    assert world.cluster.backend.find("alpha") is None


def test_a_submission_above_the_limit_of_live_slots_is_refused_until_slots_end() -> None:
    world = bench(max_live_slots=3, linger_seconds=10.0)
    world.submit(token="alpha", size=2)

    with pytest.raises(SubmissionRefusedError) as error:
        world.submit(token="beta", size=2)
    assert error.value.retryable

    world.run(50.0)
    world.submit(token="beta", size=2)
    assert world.cluster.backend.limits().max_live_slots == 3


def test_an_array_above_the_largest_size_is_refused_for_good() -> None:
    world = bench(max_array_size=4)

    with pytest.raises(SubmissionRefusedError) as error:
        world.submit(size=5)

    assert not error.value.retryable


def test_records_are_seen_after_the_visibility_delay() -> None:
    world = bench(visibility_delay_seconds=5.0)
    world.submit()
    world.offer()

    world.run(100.0)

    assert world.one(AttemptStarted).time == 10.0
    assert world.one(AttemptEnded).time == 40.0


# Figures


def test_utilisation_counts_the_attempts_of_all_machines() -> None:
    world = bench(startup=Constant(20.0))
    world.submit()
    world.offer()

    world.run(100.0)

    assert world.cluster.utilisation() == pytest.approx(30.0 / 200.0)
    assert world.cluster.utilisation(until=35.0) == pytest.approx(15.0 / 70.0)
    assert world.cluster.busy_seconds() == {"alpha.0.0": 30.0}


def test_spans_tell_which_slot_and_attempt_used_which_machine() -> None:
    world = bench(linger_seconds=10.0)
    world.submit()
    world.offer()

    world.run(100.0)

    (slot,) = world.cluster.slot_spans()
    assert (slot.machine, slot.slot, slot.begin, slot.end) == (0, "alpha.0.0", 0.0, 40.0)
    (attempt,) = world.cluster.attempt_spans()
    assert (attempt.attempt, attempt.begin, attempt.end) == ("t00000.r0.a1", 0.0, 30.0)


def test_utilisation_of_no_time_is_nothing() -> None:
    assert bench().cluster.utilisation() == 0.0


# The model


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"linger_seconds": -1.0},
        {"grace_seconds": float("inf")},
        {"report_every": 0},
        {"checkpoint_every": -1},
        {"preemptions_per_hour": float("nan")},
    ],
)
def test_a_cluster_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        ClusterModel(**{"slots": 1, **wrong})


# Properties

draws = st.one_of(
    st.builds(Constant, st.floats(0, 100)),
    st.builds(Exponential, st.floats(0, 100)),
    st.builds(LogNormal, st.floats(0, 100), st.floats(0, 2)),
    st.builds(Uniform, st.floats(0, 50), st.floats(50, 100)),
)
models = st.builds(
    ClusterModel,
    slots=st.integers(1, 4),
    queue_wait=draws,
    startup=draws,
    report_every=st.sampled_from([None, 1, 2, 0.5]),
    checkpoint_every=st.sampled_from([None, 1, 3]),
    reuse=st.booleans(),
    linger_seconds=st.floats(0, 500),
    visibility_delay_seconds=st.sampled_from([0.0, 1.0, 70.0]),
    preemptions_per_hour=st.sampled_from([0.0, 5.0, 50.0]),
    node_failures_per_hour=st.sampled_from([0.0, 5.0, 50.0]),
    grace_seconds=st.sampled_from([0.0, 5.0, 60.0]),
    requeue=st.booleans(),
)


@dataclass(frozen=True)
class Plan:
    """What a driver does in a property test, fixed in advance."""

    arrays: Sequence[tuple[int, int | None]]
    offers: Sequence[tuple[float, int, float]]
    withdrawn: frozenset[int]
    stopped: frozenset[int]


plans = st.builds(
    Plan,
    arrays=st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from([None, 100, 900])), min_size=1, max_size=3
    ),
    offers=st.lists(
        st.tuples(st.floats(0, 40), st.integers(1, 9), st.sampled_from([0.0, 1.0, 17.0])),
        max_size=12,
    ),
    withdrawn=st.frozensets(st.integers(0, 11), max_size=3),
    stopped=st.frozensets(st.integers(0, 11), max_size=3),
)


def carry_out(plan: Plan, model: ClusterModel, seed: int) -> Bench:
    world = Bench(model, seed=seed)
    for number, (size, limit) in enumerate(plan.arrays):
        world.submit(token=f"array{number}", size=size, limit=limit)
    for trial, (wait, units, seconds) in enumerate(plan.offers):
        world.run(world.clock.now() + wait)
        offer = world.offer(trial, units=units, config={"seconds": seconds})
        if trial in plan.withdrawn:
            world.cluster.exchange.withdraw(offer.attempt)
        if trial in plan.stopped:
            world.cluster.exchange.request_stop(offer.attempt)
    world.run(world.clock.now() + 3000.0)
    return world


worlds = st.builds(carry_out, plans, models, st.integers(0, 2**31))


@settings(max_examples=60, deadline=None)
@given(plans, models, st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_events_in_the_same_order(
    plan: Plan, model: ClusterModel, seed: int
) -> None:
    first, second = carry_out(plan, model, seed), carry_out(plan, model, seed)

    assert first.events == second.events
    assert first.statuses == second.statuses
    assert first.cluster.attempt_spans() == second.cluster.attempt_spans()


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_no_attempt_runs_twice(world: Bench) -> None:
    attempts = [span.attempt for span in world.cluster.attempt_spans()]

    assert len(attempts) == len(set(attempts))
    claimed = {a for a, who in world.cluster.folder.claims.items() if who != "driver"}
    assert set(attempts) == claimed
    assert {event.attempt for event in world.claims} <= claimed
    assert len({event.attempt for event in world.claims}) == len(world.claims)


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_every_claimed_attempt_ends_or_its_slot_does(world: Bench) -> None:
    """A driver can always find out: by the end record, by the slot's end, or by a restart."""
    world.run(world.clock.now() + 100.0)
    ended = {event.attempt for event in world.events if isinstance(event, AttemptEnded)}
    gone = {(s.token, s.index) for s in world.statuses if s.state is SlotState.ENDED}
    latest = {span.slot.rpartition(".")[0]: span.slot for span in world.cluster.slot_spans()}
    waiting = {
        (s.token, s.index) for s in world.cluster.backend.poll() if s.state is SlotState.PENDING
    }
    for span in world.cluster.attempt_spans():
        token, index, _ = span.slot.split(".")
        slot = (token, int(index))
        running = span.end == float("inf")
        replaced = latest[f"{token}.{index}"] != span.slot or slot in waiting
        assert span.attempt in ended or running or slot in gone or replaced


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_records_of_every_attempt_are_numbered_without_gaps(world: Bench) -> None:
    seen: dict[str, list[int | None]] = {}
    for event in world.events:
        seen.setdefault(event.attempt, []).append(event.seq)

    assert all(numbers == list(range(len(numbers))) for numbers in seen.values())


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_a_machine_does_one_thing_at_a_time(world: Bench) -> None:
    for spans in (world.cluster.slot_spans(), world.cluster.attempt_spans()):
        for machine in range(world.model.slots):
            mine = sorted((span.begin, span.end) for span in spans if span.machine == machine)
            assert all(before[1] <= after[0] for before, after in pairwise(mine))
    assert 0.0 <= world.cluster.utilisation() <= 1.0


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_resources_of_an_attempt_only_rise_and_stay_within_the_offer(world: Bench) -> None:
    ends = {offer.attempt: offer.end for offer in world.cluster.folder._offers.values()}
    for attempt, end in ends.items():
        reported = [
            event.resource
            for event in world.events
            if isinstance(event, AttemptReported) and event.attempt == attempt
        ]
        assert all(before < after for before, after in pairwise(reported))
        assert end is not None
        assert all(0 < resource <= end for resource in reported)


@settings(max_examples=60, deadline=None)
@given(worlds)
def test_a_new_driver_reads_every_event_again(world: Bench) -> None:
    world.cluster.restart_driver()
    for trial in range(12):
        world.cluster.exchange.watch(attempt_id(trial, 0, 1), offered=False)

    again = world.cluster.exchange.read(0.0)

    timeless = [replace(event, time=0.0) for event in world.events]
    assert list(again) == sorted(timeless, key=lambda event: event.attempt)


# Going on in place


def in_place(**model: Any) -> Bench:
    return bench(
        **{"slots": 1, "continue_in_place": True, "linger_seconds": 60.0, "load_seconds": 20.0}
        | model
    )


def next_rung(world: Bench, *, trial: int = 0, **changes: Any) -> Offer:
    """Offer the second rung of a trial that has finished its first one."""
    return world.offer(
        trial,
        **{
            "attempt": attempt_id(trial, 1, 1),
            "rung": 1,
            "start": 3,
            "units": 5,
            "checkpoint": f"3.{attempt_id(trial, 0, 1)}",
            "holder": "alpha.0.0",
            **changes,
        },
    )


def settle(world: Bench, *attempts: str) -> None:
    world.cluster.announce_settled(attempts or ("t00000.r0.a1",))


def starts(world: Bench) -> dict[str, float]:
    """When each attempt claimed its slot, in the order of claiming."""
    return {
        span.attempt: span.begin
        for span in sorted(world.cluster.attempt_spans(), key=lambda span: span.begin)
    }


def test_each_attempt_pays_for_loading() -> None:
    world = bench(load_seconds=20.0, slots=1)
    world.submit()
    world.offer()
    world.run(until=100.0)

    assert world.one(AttemptEnded).seconds == 20.0 + 30.0


def test_a_program_that_may_stay_says_so_at_its_end() -> None:
    world = in_place()
    world.submit()
    world.offer()
    world.run(until=55.0)

    end = world.one(AttemptEnded)
    assert (end.holding, end.outcome, end.seconds) == (True, Outcome.SUCCEEDED, 50.0)


@pytest.mark.parametrize("model", [{"continue_in_place": False}, {"linger_seconds": 0.0}])
def test_a_program_that_may_not_stay_ends(model: dict[str, Any]) -> None:
    world = in_place(**model)
    world.submit()
    world.offer()
    world.run(until=100.0)

    assert not world.one(AttemptEnded).holding


def test_a_program_without_an_end_does_not_stay() -> None:
    world = in_place()
    world.submit()
    world.offer(units=None)
    world.run(until=100.0)

    assert not world.one(AttemptEnded).holding


def test_a_program_that_was_asked_to_stop_does_not_stay() -> None:
    world = in_place()
    world.submit()
    offer = world.offer(units=1)
    accident_at(world, 25.0, lambda: world.cluster.exchange.request_stop(offer.attempt))
    world.run(until=100.0)

    assert not world.one(AttemptEnded).holding


def test_a_program_does_not_stay_shortly_before_its_limit() -> None:
    world = in_place()
    world.submit(limit=100)
    world.offer(units=6)
    world.run(until=200.0)

    assert not world.one(AttemptEnded).holding


def test_a_held_program_goes_on_without_loading() -> None:
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 60.0, lambda: next_rung(world))
    world.run(until=200.0)

    first, second = world.all(AttemptEnded)
    begun = world.all(AttemptStarted)[1]
    assert (begun.attempt, begun.slot, begun.start) == ("t00000.r1.a1", "alpha.0.0", 3)
    assert starts(world)["t00000.r1.a1"] == 60.0
    assert (first.seconds, second.seconds) == (50.0, 20.0)


def test_it_goes_on_rung_after_rung() -> None:
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 55.0, lambda: next_rung(world))
    accident_at(
        world,
        90.0,
        lambda: next_rung(
            world, attempt="t00000.r2.a1", rung=2, start=5, units=9, checkpoint="5.t00000.r1.a1"
        ),
    )
    world.run(until=300.0)

    assert [end.seconds for end in world.all(AttemptEnded)] == [50.0, 20.0, 40.0]
    assert {claim.slot for claim in world.claims} == {"alpha.0.0"}


def test_its_own_trial_comes_before_better_offers() -> None:
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 55.0, lambda: world.offer(7, priority=0))
    accident_at(world, 60.0, lambda: next_rung(world, priority=9))
    world.run(until=62.0)

    assert list(starts(world)) == ["t00000.r0.a1", "t00000.r1.a1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"start": 0, "checkpoint": None},
        {"start": 2, "checkpoint": "2.t00000.r0.a1"},
        {"start": 3, "checkpoint": None},
    ],
)
def test_an_offer_that_starts_from_something_else_needs_a_new_program(
    changes: dict[str, Any],
) -> None:
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 55.0, lambda: next_rung(world, **changes))
    accident_at(world, 60.0, lambda: settle(world))
    world.run(until=300.0)

    assert starts(world)["t00000.r1.a1"] == 60.0
    assert world.all(AttemptEnded)[1].seconds > 20.0 + 10.0


def test_a_held_program_makes_no_room_until_the_driver_has_spoken() -> None:
    world = in_place()
    world.submit()
    world.offer()
    world.offer(1, priority=9)
    world.run(until=100.0)

    assert list(starts(world)) == ["t00000.r0.a1"]


def test_a_held_program_makes_room_when_its_end_is_settled() -> None:
    world = in_place()
    world.submit()
    world.offer()
    world.offer(1, priority=9)
    accident_at(world, 57.0, lambda: settle(world))
    world.run(until=200.0)

    assert starts(world)["t00001.r0.a1"] == 57.0
    assert world.all(AttemptEnded)[1].seconds == 50.0


def test_a_held_program_that_is_settled_makes_room_for_a_later_offer() -> None:
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 57.0, lambda: settle(world))
    accident_at(world, 80.0, lambda: world.offer(1))
    world.run(until=200.0)

    assert starts(world)["t00001.r0.a1"] == 80.0


def test_a_held_program_whose_own_offer_comes_late_goes_on() -> None:
    """The end was settled without one, but a place in the rung above became free."""
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 57.0, lambda: settle(world))
    accident_at(world, 90.0, lambda: next_rung(world))
    world.run(until=200.0)

    assert world.all(AttemptEnded)[1].seconds == 20.0


def test_a_driver_that_is_away_costs_the_linger_time() -> None:
    """After it the slot takes what else is on offer."""
    world = in_place()
    world.submit()
    world.offer()
    world.offer(1, priority=9)
    world.run(until=300.0)

    assert starts(world)["t00001.r0.a1"] == 50.0 + 60.0
    assert [end.outcome for end in world.all(AttemptEnded)] == [Outcome.SUCCEEDED] * 2


def test_a_driver_that_is_away_costs_the_linger_time_and_then_the_slot_leaves() -> None:
    world = in_place()
    world.submit()
    world.offer()
    world.run(until=300.0)

    (span,) = world.cluster.slot_spans()
    assert span.end == 50.0 + 60.0
    assert world.last().outcome is Outcome.SUCCEEDED


def test_a_held_program_leaves_when_the_study_is_finished() -> None:
    world = in_place()
    world.submit()
    world.offer()
    accident_at(world, 55.0, lambda: world.cluster.announce_end(finished=True))
    world.run(until=60.0)

    (span,) = world.cluster.slot_spans()
    assert span.end == 55.0


def test_a_slot_for_one_trial_leaves_when_the_trial_does_not_go_on() -> None:
    world = in_place(reuse=False)
    world.submit()
    world.offer()
    world.offer(1, priority=9)
    accident_at(world, 57.0, lambda: settle(world))
    world.run(until=200.0)

    (span,) = world.cluster.slot_spans()
    assert span.end == 57.0


def test_a_slot_for_one_trial_stays_while_the_trial_goes_on() -> None:
    world = in_place(reuse=False)
    world.submit()
    world.offer()
    accident_at(world, 57.0, lambda: next_rung(world))
    world.run(until=100.0)

    assert len(world.all(AttemptEnded)) == 2
    assert len(world.cluster.slot_spans()) == 1


def test_another_slot_leaves_an_offer_to_its_holder() -> None:
    world = in_place(slots=2, linger_seconds=500.0, visibility_delay_seconds=2.0)
    world.submit(size=2)
    world.offer(0)
    accident_at(world, 60.0, lambda: next_rung(world, priority=0))
    world.run(until=70.0)

    assert len({span.slot for span in world.cluster.slot_spans()}) == 2
    assert [claim.slot for claim in world.claims] == ["alpha.0.0", "alpha.0.0"]


def test_another_slot_takes_an_offer_when_its_holder_does_not() -> None:
    """It has seen the offer for five seconds."""
    world = in_place()
    world.submit()
    accident_at(world, 10.0, lambda: next_rung(world, holder="omega.0.0", checkpoint=None))
    world.run(until=100.0)

    assert starts(world) == {"t00000.r1.a1": 15.0}


def test_a_slot_that_starts_later_sees_an_offer_later() -> None:
    world = in_place(queue_wait=Constant(12.0))
    next_rung(world, holder="omega.0.0", checkpoint=None)
    world.submit()
    world.run(until=100.0)

    assert starts(world) == {"t00000.r1.a1": 17.0}


def test_an_offer_for_others_does_not_hold_up_the_rest() -> None:
    world = in_place()
    next_rung(world, holder="omega.0.0", priority=0)
    world.offer(1, priority=9)
    world.submit()
    world.run(until=2.0)

    assert list(starts(world)) == ["t00001.r0.a1"]


def test_a_slot_lingers_no_longer_for_offers_of_others() -> None:
    world = in_place(linger_seconds=3.0)
    next_rung(world, holder="omega.0.0")
    world.submit()
    world.run(until=50.0)

    (span,) = world.cluster.slot_spans()
    assert span.end == 3.0
    assert starts(world) == {}


def test_a_held_program_is_gone_when_its_slot_is_preempted() -> None:
    world = in_place(requeue=False)
    world.submit()
    world.offer()
    accident_at(world, 55.0, lambda: world.cluster.preempt("alpha", 0))
    accident_at(world, 60.0, lambda: next_rung(world))
    world.run(until=100.0)

    assert world.last().outcome is Outcome.PREEMPTED
    assert [end.outcome for end in world.all(AttemptEnded)] == [Outcome.SUCCEEDED]
    assert len(starts(world)) == 1


def test_dropped_checkpoints_are_gone() -> None:
    world = bench()
    world.submit()
    world.offer()
    world.run(until=50.0)

    world.cluster.exchange.drop_checkpoints(0, ["3.t00000.r0.a1", "9.t00000.r0.a1"])

    assert world.cluster.folder.checkpoints(0) == ()
    assert world.cluster.folder.checkpoint("3.t00000.r0.a1") is None


def test_a_trial_can_start_from_what_another_one_saved() -> None:
    world = bench()
    world.submit()
    world.offer()
    world.offer(1, start=3, units=5, checkpoint="3.t00000.r0.a1", priority=9)
    world.run(until=100.0)

    assert [start.start for start in world.all(AttemptStarted)] == [0, 3]
