"""One slot: waits in the queue, starts on a machine, serves offers, and leaves or is taken away.

It behaves as the worker does: claims the best offer of its class, runs it, takes the next, lingers
without one, starts nothing shortly before its limit. A program that waits for more (it is *held*)
goes on with the next attempt of its own trial; when the driver has settled the end of its attempt
without one, or is silent for as long as the slot lingers, it makes room for others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from random import Random
from typing import Protocol

from slurmtune.backends.base import ArraySpec, SlotState, SlotStatus
from slurmtune.backends.simulation.clock import Scheduled, VirtualClock
from slurmtune.backends.simulation.folder import SharedFolder
from slurmtune.backends.simulation.model import ClusterModel
from slurmtune.backends.simulation.program import Program
from slurmtune.backends.simulation.run import AttemptRun, Site
from slurmtune.backends.simulation.usage import Ledger
from slurmtune.core.actions import Offer
from slurmtune.core.seeding import derived_seed
from slurmtune.core.trial import Outcome

_HOUR = 3600.0
_PASS_OVER_SECONDS = 5.0
"""For so long an offer is left to the slot that it names as its holder."""


class Queue(Protocol):
    """What a slot asks of the queue it stands in."""

    def enqueue(self, slot: Slot, delay_seconds: float) -> float:
        """Let the slot start after the delay, when a machine is free; return the earliest time."""
        ...

    def release(self, slot: Slot, machine: int) -> None:
        """Take back the machine of a slot that left it."""
        ...


class Slot:
    """One task of a simulated array, through all its incarnations."""

    def __init__(
        self,
        array: ArraySpec,
        index: int,
        job: str,
        *,
        stream: str,
        seed: int,
        queue: Queue,
        program: Program,
        model: ClusterModel,
        clock: VirtualClock,
        folder: SharedFolder,
        ledger: Ledger,
    ) -> None:
        self.array = array
        self.index = index
        self.state = SlotState.PENDING
        self.restart = 0
        self._job = job
        self._stream = stream
        self._seed = seed
        self._queue = queue
        self._program = program
        self._model = model
        self._clock = clock
        self._folder = folder
        self._ledger = ledger
        self._outcome: Outcome | None = None
        self._reason = ""
        self._status: SlotStatus | None = None
        self._eligible_at = 0.0
        self._machine: int | None = None
        self._started = 0.0
        self._timers: list[Scheduled] = []
        self._linger: Scheduled | None = None
        self._linger_until: float | None = None
        """When patience ends; None while it has work."""
        self._held: Offer | None = None
        """What was trained by the program that waits for more."""
        self._seen: dict[str, float] = {}
        """When offers that name another slot were seen first."""
        self._run: AttemptRun | None = None
        self._offer: Offer | None = None
        self._run_begin = 0.0
        self._leaving: tuple[Outcome, str] | None = None
        self._durations: dict[int, list[float]] = {}
        self._random = Random()  # noqa: S311 - a simulation, not a secret
        self._seed_stream()

    @property
    def name(self) -> str:
        """``TOKEN.INDEX.RESTART``."""
        return f"{self.array.token}.{self.index}.{self.restart}"

    def status(self) -> SlotStatus:
        """Return what Slurm would say about the slot now."""
        if self._status is None:
            pending = self.state is SlotState.PENDING
            self._status = SlotStatus(
                token=self.array.token,
                index=self.index,
                state=self.state,
                job=self._job,
                reason=self._reason,
                outcome=self._outcome,
                start_estimate=self._eligible_at if pending else None,
                node="" if self._machine is None else _host(self._machine),
            )
        return self._status

    def wait_in_queue(self, delay_seconds: float = 0.0) -> None:
        """Stand in the queue, for the first time or again."""
        delay = delay_seconds + self._model.queue_wait(self._random)
        self._become(SlotState.PENDING, reason="Priority")
        self._eligible_at = self._queue.enqueue(self, delay)

    def start(self, machine: int) -> None:
        """Start on a machine."""
        self._machine = machine
        self._started = self._clock.now()
        self._become(SlotState.RUNNING)
        self._ledger.begin(machine, self.name, self._started)
        self._expect(self._model.preemptions_per_hour, self.preempt)
        self._expect(self._model.node_failures_per_hour, self.lose_node)
        limit = self.array.request.time_limit_seconds
        if limit is not None:
            warn_in = max(limit - self._model.grace_seconds, 0.0)
            self._timers.append(self._clock.call_in(warn_in, self._warn_of_limit))
        startup = self._model.startup(self._random)
        self._timers.append(self._clock.call_in(startup, self._serve))

    def cancel(self) -> None:
        """End because somebody said so: at once, or when the program had its grace."""
        if self.state is SlotState.PENDING:
            self._end(Outcome.CANCELLED, "Cancelled")
        elif self.state is SlotState.RUNNING:
            # Its worker gets SIGTERM and cannot tell this from pre-emption.
            self._take_away(Outcome.CANCELLED, "Cancelled", Outcome.PREEMPTED)

    def preempt(self) -> None:
        """Lose the machine to somebody else, after the grace time."""
        if self.state is SlotState.RUNNING:
            self._take_away(Outcome.PREEMPTED, "Preempted", Outcome.PREEMPTED)

    def lose_node(self) -> None:
        """Be gone with the node, without any record."""
        if self.state is SlotState.RUNNING:
            self._kill(Outcome.NODE_FAILED, "NodeDown")

    def cut_off(self) -> None:
        """Be given up with a node that Slurm reaches no more, while its program runs on there.

        The slot may start again elsewhere: then two copies of it are alive.
        """
        if self.state is SlotState.RUNNING:
            if self._run is not None:
                self._run.live_on()
                self._run = None
            self._kill(Outcome.NODE_FAILED, "NodeDown")

    def _seed_stream(self) -> None:
        # A stream for each incarnation: what one slot draws never moves what another one draws.
        seed = derived_seed(self._seed, f"slot/{self._stream}.{self.restart}")
        self._random.seed(seed)

    def _expect(self, per_hour: float, accident: Callable[[], None]) -> None:
        if per_hour > 0:
            seconds = self._random.expovariate(per_hour / _HOUR)
            self._timers.append(self._clock.call_in(seconds, accident))

    def _become(
        self, state: SlotState, *, outcome: Outcome | None = None, reason: str = ""
    ) -> None:
        self.state, self._outcome, self._reason = state, outcome, reason
        self._status = None

    def _remaining_seconds(self) -> float:
        limit = self.array.request.time_limit_seconds
        if limit is None:
            return math.inf
        return self._started + limit - self._clock.now()

    def _serve(self) -> None:
        """Claim the best offer that fits, or linger, or leave."""
        resource_class = self.array.request.name
        self._stop_lingering()
        if not self._is_time_left():
            self._leave()
        elif self._folder.has_offer(resource_class):
            passed_over: list[float] = []
            offer = self._folder.best_offer(
                resource_class, lambda one: self._may_claim(one, passed_over)
            )
            if offer is not None:
                self._run_attempt(offer)
            elif passed_over:
                self._wait(self._serve, until=min(passed_over))
            else:
                self._leave()
        elif self._folder.finished:
            self._leave()
        else:
            self._wait(self._serve)

    def _wait(self, wake: Callable[[], None], *, until: float = math.inf) -> None:
        """Look again when there is another offer or it is ``until``; leave when it lingered."""
        now = self._clock.now()
        if self._linger_until is None:
            self._linger_until = now + self._model.linger_seconds
        elif now >= self._linger_until:
            self._leave()
            return
        self._folder.await_offer(self.array.request.name, self.name, wake)
        if until < self._linger_until:
            self._linger = self._clock.call_at(until, wake)
        else:
            self._linger = self._clock.call_at(self._linger_until, self._leave)

    def _hold(self, offer: Offer) -> None:
        """Keep the program that has trained what was asked for, for more of the same trial."""
        self._held = offer
        self._linger_until = self._clock.now() + self._model.linger_seconds
        if not self._folder.is_settled(offer.attempt):
            self._folder.on_settled(offer.attempt, self._look_on)
        self._look_on()

    def _look_on(self) -> None:
        """Go on in place, make room for another offer, or wait on."""
        held = self._held
        assert held is not None, "nobody waits"
        self._stop_lingering()
        now = self._clock.now()
        assert self._linger_until is not None
        own = self._folder.offer_of(held.trial)
        if own is not None and self._goes_on(held, own):
            self._let_go()
            self._run_attempt(own, continued=True)
        elif now >= self._linger_until or self._folder.finished or self._is_in_the_way(held):
            self._let_go()
            if self._model.reuse:
                self._serve()
            else:
                self._leave()
        else:
            self._folder.await_offer(self.array.request.name, self.name, self._look_on)
            self._linger = self._clock.call_at(self._linger_until, self._look_on)

    def _is_in_the_way(self, held: Offer) -> bool:
        """Tell whether others may have the place of a program that the driver has no work for."""
        if not self._folder.is_settled(held.attempt):
            return False
        if not self._model.reuse:
            return True
        name = self.array.request.name
        return self._folder.best_offer(name, lambda one: self._may_claim(one, [])) is not None

    def _goes_on(self, held: Offer, offer: Offer) -> bool:
        """Tell whether the program has in its memory what the offer starts from."""
        return (
            offer.resource_class == self.array.request.name
            and offer.checkpoint is not None
            and offer.start == held.end
            and self._is_time_left()
            and self._has_time_for(offer)
        )

    def _let_go(self) -> None:
        """The program waits no more."""
        if self._held is not None:
            self._folder.no_longer_on_settled(self._held.attempt)
            self._held = None

    def _stays(self) -> bool:
        """Tell whether the program that just finished its attempt may wait for more."""
        return (
            self._model.continue_in_place
            and self._model.linger_seconds > 0
            and self._leaving is None
            and self._offer is not None
            and self._offer.end is not None
            and self._remaining_seconds() >= self._least_remaining_seconds()
        )

    def _is_time_left(self) -> bool:
        """Tell whether a further attempt is worth to be started at all."""
        is_new = not self._durations
        return is_new or self._remaining_seconds() >= self._least_remaining_seconds()

    def _may_claim(self, offer: Offer, passed_over: list[float]) -> bool:
        """Tell whether to take the offer; note until when it is left to another slot."""
        if not self._has_time_for(offer):
            return False
        if offer.holder in ("", self.name):
            return True
        now = self._clock.now()
        until = self._seen.setdefault(offer.attempt, now) + _PASS_OVER_SECONDS
        if now >= until:
            return True
        passed_over.append(until)
        return False

    def _least_remaining_seconds(self) -> float:
        limit = self.array.request.time_limit_seconds or 0.0
        return min(self._model.least_remaining_seconds, 0.2 * limit)

    def _has_time_for(self, offer: Offer) -> bool:
        seen = self._durations.get(offer.rung)
        return not seen or statistics.median(seen) <= self._remaining_seconds()

    def _run_attempt(self, offer: Offer, *, continued: bool = False) -> None:
        is_ours = self._folder.claim(offer, self.name)
        assert is_ours, "an offer that is listed is not claimed"
        assert self._machine is not None
        self._linger_until = None
        self._seen.clear()
        run = AttemptRun(
            offer,
            Site(slot=self.name, job=self._job, host=_host(self._machine)),
            program=self._program,
            model=self._model,
            clock=self._clock,
            folder=self._folder,
            ended=self._attempt_ended,
            stays=self._stays,
            continued=continued,
        )
        self._run, self._offer, self._run_begin = run, offer, self._clock.now()
        self._ledger.begin(self._machine, self.name, self._run_begin, attempt=offer.attempt)
        run.start()
        grace_seconds = self._model.grace_seconds
        self._folder.on_stop(
            offer.attempt, lambda: run.interrupt(Outcome.CANCELLED, grace_seconds)
        )

    def _attempt_ended(self) -> None:
        run, offer = self._run, self._offer
        self._close_attempt()
        if self._leaving is not None:
            self._go(*self._leaving)
        elif run is not None and offer is not None and run.is_held:
            self._hold(offer)
        elif self._model.reuse:
            self._serve()
        else:
            self._leave()

    def _close_attempt(self) -> None:
        offer = self._offer
        if offer is None:
            return
        now = self._clock.now()
        self._durations.setdefault(offer.rung, []).append(now - self._run_begin)
        self._folder.no_longer_on_stop(offer.attempt)
        self._ledger.end(self.name, now, attempt=offer.attempt)
        self._run = self._offer = None

    def _warn_of_limit(self) -> None:
        if self._run is None:
            self._leave()
        else:
            self._take_away(Outcome.TIMEOUT, "TimeLimit", Outcome.TIMEOUT)

    def _take_away(self, outcome: Outcome, reason: str, attempt_outcome: Outcome) -> None:
        """Begin to end: the running attempt has the grace time, if there is any."""
        if self._leaving is None or outcome is Outcome.CANCELLED:
            self._leaving = (outcome, reason)
        grace_seconds = min(self._model.grace_seconds, self._remaining_seconds())
        if self._run is None or grace_seconds <= 0:
            self._kill(outcome, reason)
        else:
            self._run.interrupt(attempt_outcome, grace_seconds)

    def _kill(self, outcome: Outcome, reason: str) -> None:
        """End now; a cancellation that is under way stays one."""
        if self._run is not None:
            self._run.vanish()
        self._close_attempt()
        if self._leaving is not None and self._leaving[0] is Outcome.CANCELLED:
            outcome, reason = self._leaving
        self._go(outcome, reason)

    def _leave(self) -> None:
        """End by itself."""
        self._go(Outcome.SUCCEEDED, "")

    def _go(self, outcome: Outcome, reason: str) -> None:
        """Free the machine; stand in the queue again when Slurm took it away."""
        self._vacate()
        if self._model.requeue and outcome in (Outcome.PREEMPTED, Outcome.NODE_FAILED):
            self.restart += 1
            self._durations.clear()
            self._seed_stream()
            self.wait_in_queue(self._model.requeue_delay_seconds)
        else:
            self._end(outcome, reason)

    def _vacate(self) -> None:
        assert self._machine is not None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._stop_lingering()
        self._linger_until = None
        self._seen.clear()
        self._let_go()
        self._leaving = None
        self._ledger.end(self.name, self._clock.now())
        machine, self._machine = self._machine, None
        self._queue.release(self, machine)

    def _end(self, outcome: Outcome, reason: str) -> None:
        self._become(SlotState.ENDED, outcome=outcome, reason=reason)

    def _stop_lingering(self) -> None:
        self._folder.no_longer_await(self.array.request.name, self.name)
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None


def _host(machine: int) -> str:
    return f"sim{machine:04d}"
