"""The study's directory in memory: what driver and slots see of each other, and when.

`SharedFolder` is the directory; `SimulatedExchange` is one driver's way to it. A driver that is
started again gets a new exchange for the same folder. Claims are decided by the folder at once, as
link(2) is decided by the file server; everything else is seen after the visibility delay.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from slurmtune.backends.simulation.clock import VirtualClock
from slurmtune.core.actions import Offer
from slurmtune.core.events import AttemptClaimed, Event, OfferWithdrawn, Resource

DRIVER = "driver"
"""The claimant of an offer that was withdrawn."""

Record = Callable[[float], Event]
"""A line of an event log: becomes an event when it is read, with the time of reading."""


class _Log:
    """The event log of one attempt and how much of it the driver can see."""

    __slots__ = ("records", "visible")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.visible = 0


class SharedFolder:
    """Offers, claims, event logs, stop requests and checkpoints of one study."""

    def __init__(self, clock: VirtualClock, *, visibility_delay_seconds: float = 0.0) -> None:
        self._clock = clock
        self._delay_seconds = visibility_delay_seconds
        self._offers: dict[str, Offer] = {}
        self._claims: dict[str, str] = {}
        self._visible_claims: dict[str, str] = {}
        self._visible_offers: dict[str, list[tuple[int, str]]] = {}
        self._idle: dict[str, dict[str, Callable[[], None]]] = {}
        self._logs: dict[str, _Log] = {}
        self._finished = False
        self._stopped: set[str] = set()
        self._stop_calls: dict[str, Callable[[], None]] = {}
        self._checkpoints: dict[int, dict[str, Resource]] = {}
        self._resources: dict[str, Resource] = {}
        self._offer_of_trial: dict[int, Offer] = {}
        self._settled: set[str] = set()
        self._settle_calls: dict[str, Callable[[], None]] = {}
        self._readers: list[Callable[[str], None]] = []

    def subscribe(self, reader: Callable[[str], None]) -> None:
        """Call ``reader`` with the attempt whenever new records of it can be seen."""
        self._readers.append(reader)

    def publish(self, offer: Offer) -> None:
        """Put an offer into the folder, once."""
        if offer.attempt not in self._offers:
            self._offers[offer.attempt] = offer
            self._clock.call_in(self._delay_seconds, lambda: self._show_offer(offer))

    def withdraw(self, attempt: str) -> bool:
        """Claim the attempt for the driver; tell whether the driver has the claim."""
        claimant = self._claims.setdefault(attempt, DRIVER)
        if claimant == DRIVER:
            self._visible_claims[attempt] = DRIVER
        return claimant == DRIVER

    def claim(self, offer: Offer, slot: str) -> bool:
        """Claim the attempt for a slot; tell whether it was the first."""
        if offer.attempt in self._claims:
            return False
        self._claims[offer.attempt] = slot
        self._in_sight(lambda: self._show_claim(offer.attempt, slot))
        return True

    @property
    def published(self) -> Sequence[str]:
        """All attempts that ever were on offer."""
        return tuple(self._offers)

    @property
    def claims(self) -> dict[str, str]:
        """Who claimed which attempt: ``TOKEN.INDEX.RESTART`` or ``driver``."""
        return dict(self._claims)

    def visible_claim(self, attempt: str) -> str | None:
        """Return who claimed the attempt, as far as the driver can see."""
        return self._visible_claims.get(attempt)

    @property
    def finished(self) -> bool:
        """Whether slots without work are to leave at once."""
        return self._finished

    def announce_end(self, *, finished: bool) -> None:
        """Tell slots that no more work comes, or take that back."""
        self._clock.call_in(self._delay_seconds, lambda: self._show_end(finished=finished))

    def has_offer(self, resource_class: str) -> bool:
        """Tell whether slots of this class can see an offer."""
        heap = self._visible_offers.get(resource_class, [])
        while heap and heap[0][1] in self._claims:
            heapq.heappop(heap)
        return bool(heap)

    def best_offer(self, resource_class: str, fits: Callable[[Offer], bool]) -> Offer | None:
        """Return the first offer of this class that fits, by priority and name."""
        if not self.has_offer(resource_class):
            return None
        heap = self._visible_offers[resource_class]
        best = self._offers[heap[0][1]]
        if fits(best):
            return best
        others = (self._offers[attempt] for _, attempt in sorted(heap))
        return next(
            (offer for offer in others if offer.attempt not in self._claims and fits(offer)), None
        )

    def offer_of(self, trial: int) -> Offer | None:
        """Return what slots can see on offer for this trial."""
        offer = self._offer_of_trial.get(trial)
        return None if offer is None or offer.attempt in self._claims else offer

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Tell slots that what follows from the ends of these attempts is on offer."""
        self._clock.call_in(self._delay_seconds, lambda: self._show_settled(attempts))

    def is_settled(self, attempt: str) -> bool:
        """Tell whether slots can see that the driver knows of this end."""
        return attempt in self._settled

    def on_settled(self, attempt: str, wake: Callable[[], None]) -> None:
        """Call ``wake`` once when the end of this attempt is settled."""
        self._settle_calls[attempt] = wake

    def no_longer_on_settled(self, attempt: str) -> None:
        """Forget who waited for that."""
        self._settle_calls.pop(attempt, None)

    def await_offer(self, resource_class: str, slot: str, wake: Callable[[], None]) -> None:
        """Call ``wake`` once when an offer of this class can be seen; first come, first woken.

        A slot that an offer names as its holder is woken before the others.
        """
        self._idle.setdefault(resource_class, {})[slot] = wake

    def no_longer_await(self, resource_class: str, slot: str) -> None:
        """Forget a slot that waited for an offer."""
        self._idle.get(resource_class, {}).pop(slot, None)

    def append(self, attempt: str, record: Record) -> None:
        """Write one line of the attempt's event log."""
        self._logs.setdefault(attempt, _Log()).records.append(record)
        self._in_sight(lambda: self._show_record(attempt))

    def records(self, attempt: str, offset: int) -> Sequence[Record]:
        """Return what the driver can see of the log, from line ``offset`` on."""
        log = self._logs.get(attempt)
        return () if log is None else log.records[offset : log.visible]

    def request_stop(self, attempt: str) -> None:
        """Put the stop request of an attempt into the folder."""
        self._clock.call_in(self._delay_seconds, lambda: self._show_stop(attempt))

    def on_stop(self, attempt: str, stop: Callable[[], None]) -> None:
        """Call ``stop`` when a stop request can be seen, at once when there is one already."""
        if attempt in self._stopped:
            stop()
        else:
            self._stop_calls[attempt] = stop

    def no_longer_on_stop(self, attempt: str) -> None:
        """Forget an attempt that ended."""
        self._stop_calls.pop(attempt, None)

    def save_checkpoint(self, trial: int, name: str, resource: Resource) -> None:
        """Publish a checkpoint."""
        self._checkpoints.setdefault(trial, {})[name] = self._resources[name] = resource

    def drop_checkpoint(self, trial: int, name: str) -> None:
        """Remove a checkpoint, if it is there."""
        if self._checkpoints.get(trial, {}).pop(name, None) is not None:
            del self._resources[name]

    def checkpoint(self, name: str) -> Resource | None:
        """Return the resource of a checkpoint, None when there is no such."""
        return self._resources.get(name)

    def checkpoints(self, trial: int) -> Sequence[str]:
        """Return the names of the checkpoints of a trial, in the order they were saved."""
        return tuple(self._checkpoints.get(trial, {}))

    def _show_offer(self, offer: Offer) -> None:
        heap = self._visible_offers.setdefault(offer.resource_class, [])
        heapq.heappush(heap, (offer.priority, offer.attempt))
        self._offer_of_trial[offer.trial] = offer
        idle = self._idle.get(offer.resource_class)
        if not idle:
            return
        # A slot that is woken may pass the offer over; then the next one gets its chance.
        for slot in sorted(idle, key=offer.holder.__ne__):
            if not self.has_offer(offer.resource_class):
                break
            wake = idle.pop(slot, None)
            if wake is not None:
                wake()

    def _show_settled(self, attempts: Sequence[str]) -> None:
        for attempt in attempts:
            self._settled.add(attempt)
            wake = self._settle_calls.pop(attempt, None)
            if wake is not None:
                wake()

    def _in_sight(self, show: Callable[[], None]) -> None:
        """Show the driver what a slot wrote, when the visibility delay is over."""
        if self._delay_seconds > 0:
            self._clock.call_in(self._delay_seconds, show)
        else:
            show()

    def _show_claim(self, attempt: str, slot: str) -> None:
        self._visible_claims[attempt] = slot
        self._tell_readers(attempt)

    def _show_record(self, attempt: str) -> None:
        self._logs[attempt].visible += 1
        self._tell_readers(attempt)

    def _tell_readers(self, attempt: str) -> None:
        for reader in self._readers:
            reader(attempt)
        self._clock.wake()

    def _show_end(self, *, finished: bool) -> None:
        self._finished = finished
        if finished:
            for idle in self._idle.values():
                for wake in list(idle.values()):
                    wake()

    def _show_stop(self, attempt: str) -> None:
        self._stopped.add(attempt)
        stop = self._stop_calls.pop(attempt, None)
        if stop is not None:
            stop()


class SimulatedExchange:
    """An `Exchange` in memory. Reading costs as much as there is to read."""

    def __init__(self, folder: SharedFolder) -> None:
        self._folder = folder
        self._offsets: dict[str, int | None] = {}
        """Next record of each watched attempt; None: nobody is known to have claimed it."""
        self._fresh: dict[str, None] = {}
        folder.subscribe(self._notice)

    def publish(self, offer: Offer) -> None:
        """Publish the offer; publishing it again changes nothing."""
        self._folder.publish(offer)

    def withdraw(self, attempt: str) -> bool:
        """Take the offer back; False when a slot has claimed it."""
        is_ours = self._folder.withdraw(attempt)
        if is_ours:
            self.forget(attempt)
        return is_ours

    def request_stop(self, attempt: str) -> None:
        """Ask the running attempt to save and leave."""
        self._folder.request_stop(attempt)

    def drop_checkpoints(self, trial: int, names: Sequence[str]) -> None:
        """Remove these checkpoints of the trial."""
        for name in names:
            self._folder.drop_checkpoint(trial, name)

    def watch(self, attempt: str, *, offered: bool) -> None:
        """Read this attempt from now on, from its first record."""
        if attempt not in self._offsets:
            self._offsets[attempt] = None if offered else 0
            self._fresh[attempt] = None

    def forget(self, attempt: str) -> None:
        """Read this attempt no more."""
        self._offsets.pop(attempt, None)
        self._fresh.pop(attempt, None)

    def read(self, now: float) -> Sequence[Event]:
        """Return what became visible since the last call."""
        events: list[Event] = []
        fresh, self._fresh = self._fresh, {}
        for attempt in fresh:
            offset = self._offsets[attempt]
            if offset is None:
                claimant = self._folder.visible_claim(attempt)
                if claimant is None:
                    continue
                if claimant == DRIVER:
                    self.forget(attempt)
                    events.append(OfferWithdrawn(time=now, attempt=attempt))
                    continue
                events.append(AttemptClaimed(time=now, attempt=attempt, slot=claimant))
                offset = 0
            records = self._folder.records(attempt, offset)
            self._offsets[attempt] = offset + len(records)
            events.extend(record(now) for record in records)
        return events

    def _notice(self, attempt: str) -> None:
        if attempt in self._offsets:
            self._fresh[attempt] = None
