"""A driver's ports on a bad day: answers late, twice, wrong or never; and places to die.

Every call has a step before and one after it; at a step the driver may be killed or paused. Before
a call acts, the auditor is asked whether what it does is history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol

from slurmtune.backends.base import (
    ArraySpec,
    BackendLimits,
    SlotState,
    SlotStatus,
)
from slurmtune.backends.simulator import SimulatedBackend, SimulatedCluster, SimulatedExchange
from slurmtune.core.actions import Offer
from slurmtune.core.events import Config, Event, OfferWithdrawn
from slurmtune.core.ports import HistoryView, Sampler
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.driver.ports import Command, NoFiles
from slurmtune.errors import BackendUnavailableError, SubmissionRefusedError
from slurmtune.testing.faults.actors import Killed
from slurmtune.testing.faults.audit import Auditor
from slurmtune.testing.faults.journal import Record, Segment
from slurmtune.testing.faults.plan import Rates

_BACKLOG_SECONDS = 11.0
"""An sbatch that was given up may still become a job for so long."""


_DROP_ERROR = 0.2
"""How often a checkpoint cannot be removed, where files fail at all; the driver goes on."""


class Fate(Protocol):
    """What a port must know of the life that its driver leads."""

    random: Random
    tears: bool
    """Whether the driver dies in the middle of its next append."""
    is_disk_full: bool
    """Whether its next append fails."""
    slept: bool
    """Whether it was paused since it last looked at the epoch."""

    @property
    def rates(self) -> Rates:
        """How often calls go wrong; all zero when the faults are over."""
        ...

    def step(self) -> None:
        """Die or sleep here, if it is time."""
        ...

    def tell(self, kind: str, text: str = "") -> None:
        """Count a fault and write it into the story; ``text`` alone is no fault."""
        ...

    def wrote(self, records: Sequence[Record]) -> None:
        """These records are history now."""
        ...


class RoughJournal:
    """A segment on a disk that fills up, of a driver that may die in the middle of a line."""

    def __init__(self, segment: Segment, fate: Fate) -> None:
        self.segment = segment
        self._fate = fate

    def append(self, records: Sequence[Record]) -> None:
        """Write the records, all, none, or as many as the life of the driver allows.

        Raises:
            OSError: the disk is full; nothing was written.
        """
        fate = self._fate
        if not records:
            return
        fate.step()
        if fate.is_disk_full:
            fate.is_disk_full = False
            fate.tell("disk full at an append")
            raise OSError(28, "No space left on device")
        kept = list(records)
        if fate.tears:
            kept = kept[: fate.random.randrange(len(kept) + 1)]
        self.segment.append(kept)
        if self.segment.is_newest:
            fate.wrote(kept)
        if fate.tears:
            fate.tell("killed in an append")
            raise Killed
        fate.step()

    def check_owner(self) -> None:
        """Look at the epoch."""
        self._fate.step()
        self._fate.slept = False
        self.segment.check_owner()
        self._fate.step()

    def close(self) -> None:
        """There is nothing to close."""


class RoughBackend:
    """Slurm on a bad day."""

    name = "simulator"

    def __init__(
        self, backend: SimulatedBackend, cluster: SimulatedCluster, audit: Auditor, fate: Fate
    ) -> None:
        self.poll_seconds = backend.poll_seconds
        self.submit_interval_seconds = backend.submit_interval_seconds
        self._backend = backend
        self._cluster = cluster
        self._audit = audit
        self._fate = fate
        self._told: dict[tuple[str, int], SlotStatus] = {}
        self._held: list[SlotStatus] = []
        self._ended: list[SlotStatus] = []
        self._lost: set[tuple[str, int]] = set()

    def limits(self) -> BackendLimits:
        """Return the limits."""
        self._may_be_silent()
        return self._backend.limits()

    def submit(self, array: ArraySpec) -> str:
        """Submit the array; its reply may be lost, or it may be refused."""
        fate = self._fate
        fate.step()
        self._audit.check_submit(array.token, excused=fate.slept)
        self._may_be_silent()
        if self._hits(fate.rates.refusal):
            retryable = fate.random.random() < 0.8
            fate.tell("sbatch refused")
            raise SubmissionRefusedError("the partition is down", retryable=retryable)
        if self._hits(fate.rates.lost_reply):
            if fate.random.random() < 0.5:
                fate.tell("sbatch reply lost", array.token)
                self._backend.submit(array)
            else:
                fate.tell("sbatch reply lost, job comes later", array.token)
                self._submit_later(array)
            raise BackendUnavailableError("Socket timed out on send/recv operation")
        job = self._backend.submit(array)
        fate.step()
        return job

    def find(self, token: str) -> str | None:
        """Return the job of this token; as long as it may still come there is no answer."""
        self._fate.step()
        self._may_be_silent()
        if token in self._audit.on_the_way:
            raise BackendUnavailableError("an earlier sbatch may still be under way")
        job = self._backend.find(token)
        self._fate.step()
        return job

    def adopt(self, array: ArraySpec, job: str) -> None:
        """Track the slots of an array."""
        self._fate.step()
        self._backend.adopt(array, job)

    def poll(self) -> Sequence[SlotStatus]:
        """Return states, some old, some twice, some wrong."""
        self._fate.step()
        self._may_be_silent()
        statuses = [*self._held, *self._backend.poll()]
        self._held = []
        said = [answer for status in statuses if (answer := self._answer(status)) is not None]
        if self._ended and self._hits(self._fate.rates.second_end):
            self._fate.tell("a slot's end told twice")
            said.append(self._fate.random.choice(self._ended))
        self._fate.step()
        return said

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        """Cancel slots."""
        self._fate.step()
        self._may_be_silent()
        self._backend.cancel(token, indices)
        self._fate.step()

    def close(self) -> None:
        """Nothing to let go of."""

    def _answer(self, status: SlotStatus) -> SlotStatus | None:
        fate, key = self._fate, (status.token, status.index)
        if key in self._lost:
            return None
        before = self._told.get(key)
        if before is not None and before != status and self._hits(fate.rates.late_state):
            fate.tell("a slot's state told late")
            if status.state is SlotState.ENDED:
                self._held.append(status)
            return before
        if status.state is SlotState.RUNNING and self._hits(fate.rates.lost_slot):
            fate.tell("a living slot reported lost", f"{status.token}[{status.index}]")
            self._lost.add(key)
            status = replace(status, state=SlotState.ENDED, outcome=Outcome.LOST)
        if status.state is not SlotState.RUNNING:
            self._audit.suspicious.add(key)
        if status.state is SlotState.ENDED:
            self._ended.append(status)
        self._told[key] = status
        return status

    def _submit_later(self, array: ArraySpec) -> None:
        self._audit.on_the_way.add(array.token)

        def arrive() -> None:
            self._audit.on_the_way.discard(array.token)
            self._cluster.queue.submit(array)

        self._cluster.clock.call_in(self._fate.random.uniform(0.0, _BACKLOG_SECONDS), arrive)

    def _hits(self, rate: float) -> bool:
        return rate > 0.0 and self._fate.random.random() < rate

    def _may_be_silent(self) -> None:
        if self._hits(self._fate.rates.silence):
            self._fate.tell("Slurm silent")
            raise BackendUnavailableError("Unable to contact slurm controller")


class RoughExchange:
    """A shared directory that shows files late and again, and sometimes fails."""

    def __init__(self, exchange: SimulatedExchange, audit: Auditor, fate: Fate) -> None:
        self._exchange = exchange
        self._audit = audit
        self._fate = fate
        self._hidden: dict[str, list[Event]] = {}
        self._read: dict[str, list[Event]] = {}

    def publish(self, offer: Offer) -> None:
        """Publish an offer."""
        self._before()
        self._audit.check_publish(offer)
        self._exchange.publish(offer)
        self._fate.step()

    def withdraw(self, attempt: str) -> bool:
        """Take an offer back."""
        self._before()
        self._audit.check_decided(f"Withdraw {attempt}")
        is_ours = self._exchange.withdraw(attempt)
        self._fate.step()
        return is_ours

    def request_stop(self, attempt: str) -> None:
        """Ask an attempt to stop."""
        self._before()
        self._audit.check_decided(f"StopAttempt {attempt}")
        self._exchange.request_stop(attempt)
        self._fate.step()

    def drop_checkpoints(self, trial: int, names: Sequence[str]) -> None:
        """Remove checkpoints; now and then that fails half-way, and the driver goes on."""
        fate = self._fate
        fate.step()
        for name in names:
            self._audit.check_drop(trial, name)
            if fate.rates.io_error and fate.random.random() < _DROP_ERROR:
                fate.tell("a checkpoint that cannot be removed")
                raise OSError(5, "Input/output error")
            self._exchange.drop_checkpoints(trial, [name])
            fate.step()

    def watch(self, attempt: str, *, offered: bool) -> None:
        """Read an attempt from now on."""
        self._exchange.watch(attempt, offered=offered)

    def forget(self, attempt: str) -> None:
        """Read an attempt no more."""
        self._hidden.pop(attempt, None)
        self._read.pop(attempt, None)
        self._exchange.forget(attempt)

    def read(self, now: float) -> Sequence[Event]:
        """Return what can be seen: some records later, some once more."""
        self._before()
        fate = self._fate
        for event in self._exchange.read(now):
            self._hidden.setdefault(_attempt_of(event), []).append(event)
        seen: list[Event] = []
        for attempt in list(self._hidden):
            if fate.rates.hidden and fate.random.random() < fate.rates.hidden:
                fate.tell("records seen late")
                continue
            events = self._hidden.pop(attempt)
            if not isinstance(events[0], OfferWithdrawn):
                self._read.setdefault(attempt, []).extend(events)
            seen += events
        if self._read and fate.rates.read_again and fate.random.random() < fate.rates.read_again:
            fate.tell("records read again")
            seen += self._read[fate.random.choice(list(self._read))]
        fate.step()
        return seen

    def _before(self) -> None:
        fate = self._fate
        fate.step()
        if fate.rates.io_error and fate.random.random() < fate.rates.io_error:
            fate.tell("input/output error")
            raise OSError(5, "Input/output error")


class RoughFiles(NoFiles):
    """Commands in, farewell out."""

    def __init__(self, cluster: SimulatedCluster, waiting: list[Command], fate: Fate) -> None:
        self._cluster = cluster
        self._waiting = waiting
        self._fate = fate

    def publish_manifest(self, token: str, request: ResourceRequest, size: int) -> str:
        """Publish nothing: the simulated slots know what they need."""
        del token, request, size
        self._fate.step()
        return ""

    def announce_end(self, *, finished: bool) -> None:
        """Tell the slots."""
        self._fate.step()
        self._cluster.announce_end(finished=finished)
        self._fate.step()

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Tell the programs that wait."""
        self._fate.step()
        self._cluster.announce_settled(attempts)
        self._fate.step()

    def commands(self) -> Sequence[Command]:
        """Return the commands that wait."""
        return tuple(self._waiting)

    def acknowledge(self, command: Command) -> None:
        """Forget a command; another driver may have done so."""
        self._fate.step()
        if command in self._waiting:
            self._waiting.remove(command)
        self._fate.step()

    def beat(self, now: float, *, released: bool = False) -> None:
        """Hold no lease, but give a chance to die."""
        del now, released
        self._fate.step()


class WatchedSampler:
    """Tells the auditor which config is drawn."""

    def __init__(self, sampler: Sampler, check: Callable[[int], None]) -> None:
        self.name = sampler.name
        self._sampler = sampler
        self._check = check

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return the config of the trial."""
        self._check(trial)
        return self._sampler.propose(trial, history, seed)

    def origin(self, trial: int) -> str:
        """Return where the config comes from."""
        return self._sampler.origin(trial)


def _attempt_of(event: Any) -> str:
    name: str = event.attempt
    return name
