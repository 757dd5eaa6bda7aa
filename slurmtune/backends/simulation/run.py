"""One attempt of a program in a slot: trains, reports, saves, ends, or is cut short.

The times of its reports follow from the program's seconds per unit alone; an interruption takes
effect at the end of the running unit, where a real program looks whether it should stop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slurmtune.backends.simulation.clock import Scheduled, VirtualClock
from slurmtune.backends.simulation.folder import SharedFolder
from slurmtune.backends.simulation.model import ClusterModel
from slurmtune.backends.simulation.program import Program, ProgramFailedError
from slurmtune.core.actions import Offer
from slurmtune.core.events import (
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CheckpointSaved,
    Event,
    Resource,
)
from slurmtune.core.trial import Outcome

_ROUNDING = 1e-9
"""A unit counts as ended this small part before its end: sums of floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where an attempt runs."""

    slot: str
    """``TOKEN.INDEX.RESTART``."""
    job: str
    host: str


class AttemptRun:
    """A running attempt; calls ``ended`` once, unless it vanishes.

    ``stays`` is asked when the program has trained and saved all that it was asked for: whether it
    then waits for more. ``continued``: this is the program of the attempt before, which did.
    """

    def __init__(
        self,
        offer: Offer,
        site: Site,
        *,
        program: Program,
        model: ClusterModel,
        clock: VirtualClock,
        folder: SharedFolder,
        ended: Callable[[], None],
        stays: Callable[[], bool],
        continued: bool = False,
    ) -> None:
        self._offer = offer
        self._site = site
        self._program = program
        self._clock = clock
        self._folder = folder
        self._ended = ended
        self._stays = stays
        self._continued = continued
        self.is_held = False
        """Whether the program waits for the next attempt of its trial; told in its last record."""
        self._seq = 0
        self._next: Scheduled | None = None
        self._interrupted = False
        self._begin = clock.now()
        self._seconds_per_unit = program.seconds_per_unit(offer.config)
        load_seconds = model.load_seconds + program.startup_seconds(offer.config)
        self._train_from = self._begin + (0.0 if continued else load_seconds)
        self._start = self._loaded_resource()
        self._end: Resource = model.open_end if offer.end is None else offer.end
        self._unit: Resource = model.report_every or 1
        self._report_every: Resource = model.report_every or math.inf
        self._save_every: Resource = model.checkpoint_every or math.inf
        self._next_report = self._start + self._report_every
        self._next_save = self._start + self._save_every
        self._reported = self._start
        self._saved = self._start

    def start(self) -> None:
        """Write the start record and begin to train."""
        site, start = self._site, self._start

        def record(time: float, attempt: str = self._offer.attempt) -> Event:
            return AttemptStarted(
                time=time,
                attempt=attempt,
                seq=0,
                slot=site.slot,
                job=site.job,
                host=site.host,
                start=start,
            )

        self._write(record)
        self._schedule()

    def interrupt(self, outcome: Outcome, grace_seconds: float) -> None:
        """Ask the program to save and leave within ``grace_seconds``; a second time is ignored."""
        if self._interrupted:
            return
        self._interrupted = True
        if self._next is not None:
            self._next.cancel()
        resource = self._unit_end()
        leave_at = max(self._time_of(resource), self._clock.now())
        kill_at = self._clock.now() + grace_seconds
        if leave_at <= kill_at:
            self._next = self._clock.call_at(leave_at, lambda: self._leave(resource, outcome))
        else:
            cause = "killed: it did not end a unit within the grace time"
            self._next = self._clock.call_at(kill_at, lambda: self._finish(outcome, cause=cause))

    def live_on(self) -> None:
        """Go on without the slot, to the end of the program: nobody can reach it any more."""
        self._ended = lambda: None
        self._stays = lambda: False

    def vanish(self) -> None:
        """Be gone with the node: no further record."""
        if self._next is not None:
            self._next.cancel()
        self._interrupted = True

    def _loaded_resource(self) -> Resource:
        if self._continued or self._offer.checkpoint is None:
            # Without a checkpoint above 0 only where each rung is an evaluation of its own.
            return self._offer.start
        loaded = self._folder.checkpoint(self._offer.checkpoint)
        return 0 if loaded is None else loaded

    def _time_of(self, resource: Resource) -> float:
        return self._train_from + (resource - self._start) * self._seconds_per_unit

    def _unit_end(self) -> Resource:
        """Return the resource at which the running unit ends."""
        if self._seconds_per_unit <= 0:
            return self._end
        done = max(self._clock.now() - self._train_from, 0.0) / self._seconds_per_unit
        units = max(math.ceil(done / self._unit - _ROUNDING), 1)
        return min(self._start + units * self._unit, self._end)

    def _schedule(self) -> None:
        resource = min(self._next_report, self._next_save, self._end)
        self._next = self._clock.call_at(self._time_of(resource), lambda: self._reach(resource))

    def _reach(self, resource: Resource) -> None:
        if resource >= self._end:
            self._leave(resource, Outcome.SUCCEEDED)
            return
        if resource >= self._next_report:
            self._next_report += self._report_every
            if not self._report(resource):
                return
        if resource >= self._next_save:
            self._next_save += self._save_every
            self._save(resource)
        self._schedule()

    def _leave(self, resource: Resource, outcome: Outcome) -> None:
        """Report and save what is not yet reported and saved, then end."""
        complete = resource >= self._end
        if (resource > self._reported or complete) and not self._report(resource):
            return
        if resource > self._saved or complete:
            self._save(resource)
        self.is_held = complete and not self._interrupted and self._stays()
        self._finish(Outcome.SUCCEEDED if complete else outcome, exit_code=0)

    def _report(self, resource: Resource) -> bool:
        """Write a report; tell whether the program goes on."""
        offer = self._offer
        try:
            metrics: Mapping[str, float] = self._program.metrics(
                offer.config, resource, offer.seed
            )
        except ProgramFailedError as error:
            self._finish(error.outcome, exit_code=error.exit_code, cause=error.cause)
            return False
        self._reported = resource
        seq = self._next_seq()

        def record(time: float) -> Event:
            return AttemptReported(
                time=time, attempt=offer.attempt, seq=seq, resource=resource, metrics=metrics
            )

        self._write(record)
        return True

    def _save(self, resource: Resource) -> None:
        offer = self._offer
        name = f"{resource!r}.{offer.attempt}"
        self._folder.save_checkpoint(offer.trial, name, resource)
        self._saved = resource
        seq = self._next_seq()

        def record(time: float) -> Event:
            return CheckpointSaved(
                time=time, attempt=offer.attempt, seq=seq, resource=resource, name=name
            )

        self._write(record)

    def _finish(self, outcome: Outcome, *, exit_code: int | None = None, cause: str = "") -> None:
        attempt, seq = self._offer.attempt, self._next_seq()
        seconds, is_held = self._clock.now() - self._begin, self.is_held

        def record(time: float) -> Event:
            return AttemptEnded(
                time=time,
                attempt=attempt,
                seq=seq,
                outcome=outcome,
                seconds=seconds,
                exit_code=exit_code,
                cause=cause,
                holding=is_held,
            )

        self._write(record)
        self._interrupted = True
        self._ended()

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _write(self, record: Callable[[float], Event]) -> None:
        self._folder.append(self._offer.attempt, record)
