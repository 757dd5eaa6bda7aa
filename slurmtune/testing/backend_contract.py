"""What every backend owes, as tests: the same for simulator, local processes and Slurm.

Inherit from `BackendContract`, give it a rig, and pytest runs every test against your backend::

    class TestMyBackend(BackendContract):
        def make_rig(self, tmp_path):
            return MyRig(tmp_path)

The rig's program trains one resource unit after the other, from the offer's ``start`` to its
``end``; each takes ``config["seconds"]`` and reports ``loss = 1 / unit``. A process may be as
simple as a shell script that appends a line to ``$SLURMTUNE_METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from slurmtune.backends.base import (
    ArraySpec,
    Backend,
    BackendLimits,
    Clock,
    Exchange,
    SlotState,
    SlotStatus,
)
from slurmtune.core.actions import Offer
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    Event,
    OfferWithdrawn,
)
from slurmtune.core.ids import attempt_id
from slurmtune.core.trial import Outcome

METRIC = "loss"
"""What the rig's program reports."""
CLASSES = ("c0", "c1")
"""Resource classes that a rig's arrays and offers may have."""


class Rig(Protocol):
    """A backend with everything around it, ready to run.

    ``restart`` replaces ``backend`` and ``exchange`` by new ones, as a driver has them that was
    killed and started again: slots and files stay. ``capacity`` slots run at once, further ones
    wait; None when the rig cannot keep a slot waiting. ``turns`` times ``turn_seconds`` is how
    long a test waits for something before it fails.
    """

    backend: Backend
    exchange: Exchange
    clock: Clock
    capacity: int | None
    unit_seconds: float
    turn_seconds: float
    turns: int

    def array(self, token: str, size: int, resource_class: str) -> ArraySpec:
        """Prepare an array, with its manifest when the backend wants one; not yet submitted."""
        ...

    def restart(self) -> None:
        """Forget what the driver's side knows."""
        ...

    def close(self) -> None:
        """End what still runs."""
        ...


class Watch:
    """What a driver sees of a rig, collected turn by turn."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.events: list[Event] = []
        self.statuses: list[SlotStatus] = []
        self._next_poll = rig.clock.now()

    def run_until(self, happened: Callable[[], bool]) -> None:
        """Look and wait by turns until ``happened()``; fail after the rig's number of turns."""
        for _ in range(self.rig.turns):
            self.look()
            if happened():
                return
            self.rig.clock.wait(self.rig.turn_seconds)
        pytest.fail(f"did not happen; events: {self.events}; slots: {self.statuses}")

    def run_turns(self, turns: int) -> None:
        """Look and wait so many times."""
        for _ in range(turns):
            self.look()
            self.rig.clock.wait(self.rig.turn_seconds)
        self.look()

    def look(self) -> None:
        """Read the events, and poll when it is time to."""
        now = self.rig.clock.now()
        if now >= self._next_poll:
            self._next_poll = now + self.rig.backend.poll_seconds
            self.statuses.extend(self.rig.backend.poll())
        self.events.extend(self.rig.exchange.read(now))

    def of(self, attempt: str) -> list[Event]:
        """Return the events of one attempt."""
        return [event for event in self.events if getattr(event, "attempt", None) == attempt]

    def has_started(self, attempt: str) -> bool:
        """Whether the attempt's start was read."""
        return any(isinstance(event, AttemptStarted) for event in self.of(attempt))

    def has_ended(self, *attempts: str) -> bool:
        """Whether the ends of these attempts were read."""
        return all(self.outcomes(attempt) for attempt in attempts)

    def outcomes(self, attempt: str) -> list[Outcome]:
        """Return how the attempt ended: one outcome, or none."""
        return [event.outcome for event in self.of(attempt) if isinstance(event, AttemptEnded)]

    def slots(self, state: SlotState, token: str | None = None) -> set[tuple[str, int]]:
        """Return the slots whose latest status is in this state."""
        latest = {(status.token, status.index): status for status in self.statuses}
        return {
            key
            for key, status in latest.items()
            if status.state is state and token in (None, status.token)
        }

    def ends(self, token: str) -> list[SlotStatus]:
        """Return every report that a slot of the array ended."""
        return [
            status
            for status in self.statuses
            if status.token == token and status.state is SlotState.ENDED
        ]


class BackendContract:
    """The tests; a subclass makes the rig."""

    def make_rig(self, tmp_path: Path) -> Rig:
        """Return a new rig without arrays and offers."""
        raise NotImplementedError

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        """A rig that is closed after the test."""
        rig = self.make_rig(tmp_path)
        yield rig
        rig.close()

    @pytest.fixture
    def watch(self, rig: Rig) -> Watch:
        """What the driver sees of the rig."""
        return Watch(rig)

    def offer(
        self,
        rig: Rig,
        trial: int,
        *,
        units: int = 2,
        priority: int = 1,
        resource_class: str = "",
        holder: str = "",
    ) -> Offer:
        """Publish an offer of ``units`` resource units and read it from now on."""
        offer = Offer(
            attempt=attempt_id(trial, 0, 1),
            trial=trial,
            rung=0,
            config={"seconds": rig.unit_seconds},
            start=0,
            end=units,
            checkpoint=None,
            seed=trial,
            priority=priority,
            resource_class=resource_class or CLASSES[0],
            holder=holder,
        )
        rig.exchange.publish(offer)
        rig.exchange.watch(offer.attempt, offered=True)
        return offer

    def long_offer(self, rig: Rig, trial: int, *, priority: int = 1) -> Offer:
        """Publish an offer that outlasts the test."""
        return self.offer(rig, trial, units=100_000, priority=priority)

    def submit(self, rig: Rig, *, size: int = 1) -> ArraySpec:
        """Submit the array ``alpha`` of the first class."""
        array = rig.array("alpha", size, CLASSES[0])
        rig.backend.submit(array)
        return array

    def test_two_slots_serve_five_offers(self, rig: Rig, watch: Watch) -> None:
        """Every attempt starts once, reports in order and succeeds."""
        attempts = [self.offer(rig, trial, units=3).attempt for trial in range(5)]
        self.submit(rig, size=2)

        watch.run_until(lambda: watch.has_ended(*attempts))

        for attempt in attempts:
            claim, start, *events = watch.of(attempt)
            assert isinstance(claim, AttemptClaimed)
            assert claim.slot in {"alpha.0.0", "alpha.1.0"}
            assert isinstance(start, AttemptStarted)
            assert (start.seq, start.start, start.slot) == (0, 0, claim.slot)
            reports = [event for event in events if isinstance(event, AttemptReported)]
            assert [report.resource for report in reports] == [1, 2, 3]
            assert [report.metrics[METRIC] for report in reports] == pytest.approx(
                [1, 1 / 2, 1 / 3], rel=1e-3
            )
            assert isinstance(events[-1], AttemptEnded)
            assert events[-1].outcome is Outcome.SUCCEEDED
            assert events[-1].exit_code == 0
            assert not any(isinstance(event, AttemptStarted) for event in events)
            assert sum(isinstance(event, AttemptEnded) for event in events) == 1

    def test_records_of_an_attempt_are_numbered_without_gaps(self, rig: Rig, watch: Watch) -> None:
        """``seq`` counts 0, 1, 2 and so on in the order of reading, after the claim."""
        attempt = self.offer(rig, 0, units=3).attempt
        self.submit(rig)

        watch.run_until(lambda: watch.has_ended(attempt))

        numbers = [getattr(event, "seq", None) for event in watch.of(attempt)[1:]]
        assert numbers == list(range(len(numbers)))

    @pytest.mark.parametrize(
        ("priorities", "first"), [((5, 1, 3), 1), ((2, 2, 2), 0), ((100, 20, 3), 2)]
    )
    def test_a_slot_claims_the_offer_of_the_lowest_priority_number_first(
        self, rig: Rig, watch: Watch, priorities: Sequence[int], first: int
    ) -> None:
        """Among equals it is the lowest trial."""
        offers = [
            self.long_offer(rig, trial, priority=priority)
            for trial, priority in enumerate(priorities)
        ]
        self.settle(rig)
        self.submit(rig)

        watch.run_until(lambda: watch.has_started(offers[first].attempt))

        others = [offer for offer in offers if offer is not offers[first]]
        assert [rig.exchange.withdraw(offer.attempt) for offer in others] == [True, True]

    def test_an_offer_of_another_class_is_left_alone(self, rig: Rig, watch: Watch) -> None:
        """A slot serves its own class only."""
        foreign = self.offer(rig, 0, resource_class=CLASSES[1])
        own = self.offer(rig, 1, priority=9)
        self.submit(rig)

        watch.run_until(lambda: bool(watch.ends("alpha")))

        assert watch.outcomes(own.attempt) == [Outcome.SUCCEEDED]
        assert watch.of(foreign.attempt) == []
        assert rig.exchange.withdraw(foreign.attempt)

    def test_an_offer_that_comes_while_the_slot_lingers_is_served(
        self, rig: Rig, watch: Watch
    ) -> None:
        """A slot without work waits for some."""
        first = self.offer(rig, 0)
        self.submit(rig)
        watch.run_until(lambda: watch.has_ended(first.attempt))

        second = self.offer(rig, 1)
        watch.run_until(lambda: watch.has_ended(second.attempt))

        assert watch.outcomes(second.attempt) == [Outcome.SUCCEEDED]

    def test_publishing_again_changes_nothing(self, rig: Rig, watch: Watch) -> None:
        """The attempt runs once, also when its offer comes again after its end."""
        offer = self.offer(rig, 0)
        rig.exchange.publish(offer)
        self.submit(rig)
        watch.run_until(lambda: watch.has_ended(offer.attempt))

        rig.exchange.publish(offer)
        watch.run_until(lambda: bool(watch.ends("alpha")))

        assert watch.outcomes(offer.attempt) == [Outcome.SUCCEEDED]

    def test_a_token_is_submitted_once(self, rig: Rig, watch: Watch) -> None:
        """Asked twice, the backend answers with the same job and runs its slots once."""
        attempts = [self.offer(rig, trial).attempt for trial in range(3)]
        array = rig.array("alpha", 2, CLASSES[0])

        first = rig.backend.submit(array)
        second = rig.backend.submit(array)

        assert first == second
        watch.run_until(lambda: len(watch.ends("alpha")) == 2)
        assert sorted(status.index for status in watch.ends("alpha")) == [0, 1]
        assert [watch.outcomes(attempt) for attempt in attempts] == [[Outcome.SUCCEEDED]] * 3

    def test_a_known_token_is_found(self, rig: Rig) -> None:
        """`find` gives the job id that `submit` gave."""
        job = rig.backend.submit(rig.array("alpha", 1, CLASSES[0]))

        assert rig.backend.find("alpha") == job

    def test_a_known_token_is_found_after_a_restart(self, rig: Rig) -> None:
        """Also by a driver that did not submit it."""
        job = rig.backend.submit(rig.array("alpha", 1, CLASSES[0]))

        rig.restart()

        assert rig.backend.find("alpha") == job

    def test_an_unknown_token_is_not_found(self, rig: Rig) -> None:
        """None is a sure no."""
        self.submit(rig)

        assert rig.backend.find("beta") is None

    def test_a_waiting_slot_can_be_cancelled(self, rig: Rig, watch: Watch) -> None:
        """It ends as CANCELLED and never starts; its neighbours go on."""
        if rig.capacity is None:
            pytest.skip("this rig cannot keep a slot waiting")
        attempts = [self.long_offer(rig, trial).attempt for trial in range(rig.capacity)]
        self.submit(rig, size=rig.capacity + 1)
        watch.run_until(
            lambda: (
                all(watch.has_started(attempt) for attempt in attempts)
                and len(watch.slots(SlotState.RUNNING)) == rig.capacity
                and len(watch.slots(SlotState.PENDING)) == 1
            )
        )
        ((token, index),) = watch.slots(SlotState.PENDING)

        rig.backend.cancel(token, [index])
        watch.run_until(lambda: bool(watch.ends("alpha")))

        (end,) = watch.ends("alpha")
        assert (end.index, end.outcome) == (index, Outcome.CANCELLED)
        assert len(watch.slots(SlotState.RUNNING)) == rig.capacity

    def test_a_running_slot_can_be_cancelled(self, rig: Rig, watch: Watch) -> None:
        """It ends as CANCELLED; what it ran did not succeed, whatever its last record says."""
        attempt = self.long_offer(rig, 0).attempt
        self.submit(rig)
        watch.run_until(lambda: watch.has_started(attempt))

        rig.backend.cancel("alpha", [0])
        watch.run_until(lambda: bool(watch.ends("alpha")))
        watch.run_turns(3)

        (end,) = watch.ends("alpha")
        assert end.outcome is Outcome.CANCELLED
        assert watch.outcomes(attempt) in ([], [Outcome.CANCELLED], [Outcome.PREEMPTED])

    def test_a_whole_array_can_be_cancelled(self, rig: Rig, watch: Watch) -> None:
        """Without indices every slot ends."""
        self.long_offer(rig, 0)
        self.long_offer(rig, 1)
        self.submit(rig, size=2)

        rig.backend.cancel("alpha")
        watch.run_until(lambda: len(watch.ends("alpha")) == 2)

        assert {end.outcome for end in watch.ends("alpha")} == {Outcome.CANCELLED}

    def test_cancelling_what_is_gone_is_no_error(self, rig: Rig, watch: Watch) -> None:
        """Neither a second time nor after the end does it change anything."""
        self.long_offer(rig, 0)
        self.submit(rig)
        rig.backend.cancel("alpha")
        rig.backend.cancel("alpha")
        watch.run_until(lambda: bool(watch.ends("alpha")))

        rig.backend.cancel("alpha", [0])

        assert len(watch.ends("alpha")) == 1

    def test_an_offer_can_be_withdrawn_before_it_is_claimed(self, rig: Rig, watch: Watch) -> None:
        """It never runs; asking again gives the same answer."""
        withdrawn = self.offer(rig, 0).attempt
        other = self.offer(rig, 1).attempt

        assert rig.exchange.withdraw(withdrawn)
        assert rig.exchange.withdraw(withdrawn)
        self.submit(rig)
        watch.run_until(lambda: bool(watch.ends("alpha")))

        assert watch.of(withdrawn) == []
        assert watch.outcomes(other) == [Outcome.SUCCEEDED]

    def test_a_claimed_offer_cannot_be_withdrawn(self, rig: Rig, watch: Watch) -> None:
        """The claim stands, and the attempt goes on."""
        attempt = self.offer(rig, 0, units=3).attempt
        self.submit(rig)
        watch.run_until(lambda: watch.has_started(attempt))

        assert not rig.exchange.withdraw(attempt)
        watch.run_until(lambda: watch.has_ended(attempt))

        assert watch.outcomes(attempt) == [Outcome.SUCCEEDED]

    def test_a_stop_request_ends_the_attempt(self, rig: Rig, watch: Watch) -> None:
        """It ends as CANCELLED, not as a success."""
        attempt = self.long_offer(rig, 0).attempt
        self.submit(rig)
        watch.run_until(lambda: watch.has_started(attempt))

        rig.exchange.request_stop(attempt)
        watch.run_until(lambda: watch.has_ended(attempt))

        assert watch.outcomes(attempt) == [Outcome.CANCELLED]

    def test_a_slot_without_offers_ends_after_its_linger(self, rig: Rig, watch: Watch) -> None:
        """It leaves by itself, is reported as ENDED once, and is tracked no more."""
        self.submit(rig)

        watch.run_until(lambda: bool(watch.ends("alpha")))
        seen = len(watch.statuses)
        watch.run_turns(3)

        assert watch.ends("alpha")[0].outcome is Outcome.SUCCEEDED
        assert len(watch.statuses) == seen

    def test_every_slot_is_reported_after_submission(self, rig: Rig) -> None:
        """No slot is missing and none is there twice."""
        self.submit(rig, size=2)

        statuses = rig.backend.poll()

        assert sorted((status.token, status.index) for status in statuses) == [
            ("alpha", 0),
            ("alpha", 1),
        ]

    def test_a_new_driver_adopts_slots(self, rig: Rig, watch: Watch) -> None:
        """It sees the same slots and attempts to their end."""
        attempts = [self.offer(rig, trial, units=4).attempt for trial in range(2)]
        array = self.submit(rig, size=2)
        watch.run_until(lambda: all(watch.has_started(attempt) for attempt in attempts))

        rig.restart()
        job = rig.backend.find("alpha")
        assert job is not None
        rig.backend.adopt(array, job)
        for attempt in attempts:
            rig.exchange.watch(attempt, offered=False)
        later = Watch(rig)
        later.run_until(lambda: len(later.ends("alpha")) == 2)
        later.run_until(lambda: later.has_ended(*attempts))

        assert [later.outcomes(attempt) for attempt in attempts] == [[Outcome.SUCCEEDED]] * 2
        assert {end.outcome for end in later.ends("alpha")} == {Outcome.SUCCEEDED}

    def test_a_new_driver_reads_the_same_events_again(self, rig: Rig, watch: Watch) -> None:
        """From the first record; only the time of reading differs."""
        attempt = self.offer(rig, 0, units=3).attempt
        self.submit(rig)
        watch.run_until(lambda: watch.has_ended(attempt))

        rig.restart()
        rig.exchange.watch(attempt, offered=True)
        later = Watch(rig)
        later.run_until(lambda: later.has_ended(attempt))

        assert _timeless(watch.of(attempt)) == _timeless(later.of(attempt))

    def test_a_new_driver_learns_that_the_old_one_withdrew(self, rig: Rig) -> None:
        """It may have died before it wrote that down."""
        attempt = self.offer(rig, 0).attempt
        assert rig.exchange.withdraw(attempt)

        rig.restart()
        rig.exchange.watch(attempt, offered=True)
        later = Watch(rig)
        later.run_until(lambda: bool(later.of(attempt)))

        assert [type(event) for event in later.of(attempt)] == [OfferWithdrawn]

    def test_a_new_driver_can_publish_and_withdraw(self, rig: Rig, watch: Watch) -> None:
        """What the old one published is still on offer."""
        offer = self.offer(rig, 0)
        assert watch.events == []

        rig.restart()
        rig.exchange.publish(offer)

        assert rig.exchange.withdraw(offer.attempt)

    def test_dropping_checkpoints_that_are_gone_is_no_error(self, rig: Rig, watch: Watch) -> None:
        """Of a trial that saved nothing, of one that never began, and once more."""
        offer = self.offer(rig, 0)
        self.submit(rig)
        watch.run_until(lambda: watch.has_ended(offer.attempt))

        for trial in (0, 0, 1):
            rig.exchange.drop_checkpoints(trial, [f"7.{attempt_id(trial, 3, 1)}"])

        assert watch.outcomes(offer.attempt) == [Outcome.SUCCEEDED]

    def test_an_offer_that_names_a_slot_that_is_gone_is_served_by_others(
        self, rig: Rig, watch: Watch
    ) -> None:
        """Its holder may be dead: it is left to it for seconds only."""
        offer = self.offer(rig, 0, holder="omega.0.0")
        self.submit(rig)

        watch.run_until(lambda: watch.has_ended(offer.attempt))

        assert watch.outcomes(offer.attempt) == [Outcome.SUCCEEDED]

    def test_a_forgotten_attempt_is_read_no_more(self, rig: Rig, watch: Watch) -> None:
        """Its records stay unread, those of others are read."""
        forgotten = self.offer(rig, 0).attempt
        other = self.offer(rig, 1).attempt
        rig.exchange.forget(forgotten)
        self.submit(rig)

        watch.run_until(lambda: bool(watch.ends("alpha")))

        assert watch.of(forgotten) == []
        assert watch.outcomes(other) == [Outcome.SUCCEEDED]

    def test_limits_do_not_change(self, rig: Rig) -> None:
        """They are asked for once."""
        limits = rig.backend.limits()

        assert isinstance(limits, BackendLimits)
        assert rig.backend.limits() == limits

    def settle(self, rig: Rig) -> None:
        """Let everything published become visible."""
        rig.clock.wait(rig.turn_seconds)


def _timeless(events: Sequence[Event]) -> list[Event]:
    return [replace(event, time=0.0) for event in events]
