"""The loop: read what workers wrote, ask the backend, feed the study, act; the same everywhere.

A tick is idempotent: whatever is interrupted is done again by the next tick or the next driver.
The order inside is what makes that true: an event is durable before its actions are carried out,
and the epoch is checked in between (`slurmtune.store.journal`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from slurmtune.backends.base import Backend, Clock, Exchange
from slurmtune.core.actions import (
    Action,
    DropCheckpoints,
    Finish,
    Offer,
    Propose,
    StopAttempt,
    Withdraw,
)
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptQueued,
    CapacityChanged,
    CheckpointsDropped,
    ConfigProposed,
    Event,
    LimitReached,
    Limits,
    OfferWithdrawn,
    SpaceExhausted,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.fleet import slot_key
from slurmtune.core.lineage import heir_record
from slurmtune.core.overview import Surroundings, overview
from slurmtune.core.ports import Sampler
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState
from slurmtune.driver.capacity import Capacity
from slurmtune.driver.parts import LoopSettings
from slurmtune.driver.ports import JournalPort, NoFiles, NoObserver, Observer, StudyFiles
from slurmtune.driver.recovery import record_of
from slurmtune.driver.slots import SlotWatch
from slurmtune.driver.submission import Submissions
from slurmtune.errors import BackendError, BackendUnavailableError, TransitionError

__all__ = ["Driver", "LoopSettings"]

_LOG = logging.getLogger(__name__)

_OVERVIEW_SECONDS = 2.0
_BEAT_SECONDS = 10.0
_FAREWELL_SECONDS = 8.0
_MOST_SETTLED = 4096
"""Ends that are announced as seen: far more than slots that can wait for it at a time."""
_REMOVING_SECONDS = 1.0
"""Time for removing checkpoints in one tick: thousands may become unnecessary at once."""


@dataclass(slots=True, kw_only=True)
class Driver:
    """One driver of one study."""

    make_submissions: ClassVar[type[Submissions]] = Submissions
    make_slots: ClassVar[type[SlotWatch]] = SlotWatch

    study: Study
    journal: JournalPort
    backend: Backend
    exchange: Exchange
    sampler: Sampler
    clock: Clock
    settings: LoopSettings
    make_token: Callable[[int], str]
    """From the number of an array, unique in this epoch, to its token."""
    files: StudyFiles = field(default_factory=NoFiles)
    observer: Observer = field(default_factory=NoObserver)
    opened_time: float = 0.0
    settled: Sequence[Event] = ()
    """What became of arrays that an earlier driver left on another backend; none lives."""
    detached: bool = False
    """Set by `detach`: the loop ends after this tick, slots go on."""
    slots: SlotWatch = field(init=False)
    submissions: Submissions = field(init=False)
    capacity: Capacity = field(init=False)
    _unsaved: list[dict[str, Any]] = field(default_factory=list)
    _next_overview: float = 0.0
    _next_beat: float = 0.0
    _tick_seconds: float = 0.0
    _last_tick: float | None = None
    _held: list[str] = field(default_factory=list)
    """Attempts whose program was waiting for more when they ended, oldest first."""
    _heirs: int = 0
    """How many trials that go on from others were published."""
    _drops: deque[DropCheckpoints] = field(default_factory=deque)
    """Checkpoints that wait to be removed."""
    _told_drop: bool = False
    """Whether the user knows that checkpoints cannot be removed."""

    def __post_init__(self) -> None:
        """Make the parts."""
        self.slots = self.make_slots(self)
        self.submissions = self.make_submissions(self)
        self.capacity = Capacity(self)

    # ---------------------------------------------------------------- life

    def open(self, limits: Limits, spec_sha256: str) -> None:
        """Start or continue the study: carry out what an earlier driver may not have."""
        now = self.clock.now()
        self.opened_time = self.opened_time or now
        self.files.beat(now)
        self.files.announce_end(finished=False)
        for attempt in self.study.live.values():
            running = attempt.state is AttemptState.RUNNING
            self.exchange.watch(attempt.id, offered=not running)
        self.feed(self.settled)
        for array in list(self.study.fleet.live_arrays.values()):
            self.submissions.adopt(array, now)
        for trial in self.study.trials:
            for attempt in trial.attempts:
                self.slots.note_slot(attempt.slot)
        opened = StudyOpened(
            time=now,
            spec_sha256=spec_sha256,
            limits=limits,
            drawn_by=self.settings.drawn_by,
        )
        self.feed([opened])
        self._carry_out(self.study.open_actions())
        self.feed([CapacityChanged(time=now, attempts=self.capacity.wanted())])

    def run(self) -> str:
        """Tick until the study is finished or `detach` was called; return the reason.

        Raises:
            BackendError: nothing can be submitted, and waiting will not help.
            DriverFencedError: another driver took over.
            OSError: the study's directory cannot be written.
        """
        try:
            self._tick_until_over()
        except BackendError:
            self._leave()
            raise
        self._leave()
        return self.study.finished or "detached"

    def _tick_until_over(self) -> None:
        self._tick_seconds = self.settings.shortest_tick_seconds
        while not self.detached:
            if self.tick():
                self._tick_seconds = self.settings.shortest_tick_seconds
            else:
                self._tick_seconds = min(
                    1.3 * self._tick_seconds, self.settings.longest_tick_seconds
                )
            if self.study.finished:
                self._say_farewell()
                self._remove_all_checkpoints()
                break
            self.clock.wait(self._tick_seconds)

    def _remove_all_checkpoints(self) -> None:
        """Remove what waits to be removed, and show meanwhile that somebody is at work."""
        while self._drops:
            self._remove_checkpoints()
            self.journal.check_owner()
            self.files.beat(self.clock.now())

    def _leave(self) -> None:
        """Tell others that nobody drives the study any more, unless somebody else does already."""
        self.journal.check_owner()
        self._save()
        self.files.beat(self.clock.now(), released=True)
        # After the lease, so that the last overview says so too.
        self._look(self.clock.now(), force=True)

    def detach(self) -> None:
        """End the loop after the current tick; slots and jobs go on."""
        self.detached = True

    def cancel_all(self) -> None:
        """End every slot of the study; results and checkpoints stay."""
        for token in list(self.study.fleet.live_arrays):
            self.slots.cancel(token, None)

    def tick(self) -> bool:
        """Look once at everything and act; tell whether anything happened."""
        now = self.clock.now()
        gap_seconds = 0.0 if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        if gap_seconds < 0:
            self._follow_clock(gap_seconds)
            gap_seconds = 0.0
        self.capacity.look(gap_seconds)
        held = len(self._held)
        changed = self.feed(self.exchange.read(now))
        changed |= self._obey(now)
        changed |= self.slots.poll(now)
        changed |= self.feed(self.slots.overdue(now))
        changed |= self.feed(self._times_up(now))
        if self.settings.adaptive or self.settings.binds_late:
            # No sign of life outside: it must not shorten the next wait.
            self.feed([CapacityChanged(time=now, attempts=self.capacity.wanted())])
        if len(self._held) > held:
            self._announce_settled()
        self._remove_checkpoints()
        self.slots.announce_idle()
        changed |= self.submissions.submit(now)
        self._look(now)
        if now >= self._next_beat:
            # A driver that was replaced must not put its name into the lease of the new one.
            self.journal.check_owner()
            self.files.beat(now)
            self._next_beat = now + _BEAT_SECONDS
        return changed

    def _follow_clock(self, seconds: float) -> None:
        """Move all that is planned by as much as the clock was set back; else nothing is done."""
        self._next_overview += seconds
        self._next_beat += seconds
        self.slots.follow_clock(seconds)
        self.submissions.follow_clock(seconds)

    def _announce_settled(self) -> None:
        """Tell waiting programs that what follows from the end of their attempts is on offer."""
        del self._held[:-_MOST_SETTLED]
        self.files.announce_settled(tuple(self._held))

    # ---------------------------------------------------------------- feeding the study

    def feed(self, events: Iterable[Event]) -> bool:
        """Apply events, make them durable, check the epoch, carry out what follows."""
        queue = deque(events)
        external: list[Action] = []
        changed = False
        while queue:
            event = queue.popleft()
            actions = self._apply(event)
            if actions is None:
                continue
            changed = True
            for action in actions:
                if isinstance(action, Propose):
                    # Drawing a config has no effect outside, so it need not wait for the disk.
                    # It goes first: a sampler sees what the journal holds before its answer.
                    queue.appendleft(self._propose(action.trial))
                else:
                    external.append(action)
        if changed:
            self._save()
            self.journal.check_owner()
            self._carry_out(external)
        return changed

    def _apply(self, event: Event) -> tuple[Action, ...] | None:
        try:
            actions = self.study.handle(event)
        except TransitionError as error:
            _LOG.warning("ignored: %s", error)
            return None
        if actions is None:
            return None
        self._unsaved.append(record_of(event, actions, self.study.verdicts))
        self._note(event)
        self.observer.applied(event, self.study)
        return actions

    def _save(self) -> None:
        self.journal.append(self._unsaved)
        self._unsaved.clear()

    def _note(self, event: Event) -> None:
        """Keep what the loop itself needs to remember of an event."""
        if isinstance(event, AttemptClaimed):
            self.slots.note_claim(event.slot)
            self.capacity.note_claim(event.slot)
            self.submissions.note_claim(slot_key(event.slot).token, event.time)
        elif isinstance(event, AttemptEnded):
            self.slots.note_end(event.attempt)
            self.exchange.forget(event.attempt)
            self.capacity.note_end(event)
            if event.holding:
                self._held.append(event.attempt)

    def _propose(self, trial: int) -> Event:
        now = self.clock.now()
        config = self.sampler.propose(trial, self.study.results.history, self.study.settings.seed)
        if config is None:
            return SpaceExhausted(time=now, trial=trial)
        return ConfigProposed(
            time=now, trial=trial, config=config, origin=self.sampler.origin(trial)
        )

    # ---------------------------------------------------------------- acting

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Offer():
                    self.exchange.publish(action)
                    self.exchange.watch(action.attempt, offered=True)
                    queued = AttemptQueued(time=self.clock.now(), attempt=action.attempt)
                    self._carry_out(self._apply(queued) or ())
                case Withdraw(attempt=attempt):
                    if self.exchange.withdraw(attempt):
                        self.exchange.forget(attempt)
                        self.feed([OfferWithdrawn(time=self.clock.now(), attempt=attempt)])
                case StopAttempt(attempt=attempt):
                    self.exchange.request_stop(attempt)
                case DropCheckpoints():
                    self._drops.append(action)
                case Propose(trial=trial):
                    self.feed([self._propose(trial)])
                case Finish():
                    self.files.announce_end(finished=True)
                case _:
                    raise TypeError(f"not an action: {action!r}")

    def _remove_checkpoints(self, seconds: float = _REMOVING_SECONDS) -> bool:
        """Remove what waits to be removed, for no longer than so many seconds."""
        deadline = self.clock.now() + seconds
        dropped: list[Event] = []
        while self._drops and (not dropped or self.clock.now() < deadline):
            dropped += self._drop(self._drops.popleft())
        return self.feed(dropped)

    def _drop(self, action: DropCheckpoints) -> list[Event]:
        """Remove checkpoints; what cannot be removed stays until the study is opened again."""
        try:
            self.exchange.drop_checkpoints(action.trial, action.names)
        except OSError as error:
            if not self._told_drop:
                self._told_drop = True
                self.observer.message(
                    f"checkpoints that nobody needs could not be removed ({error}); "
                    "the study goes on, and the next launch tries again"
                )
            return []
        return [CheckpointsDropped(time=self.clock.now(), trial=action.trial, names=action.names)]

    def hear_nothing(self, error: BackendUnavailableError) -> None:
        """The backend gave no answer."""
        self.slots.hear_nothing(error)

    def look_soon(self, now: float) -> None:
        """Look at the queue earlier than it is due: something was submitted."""
        self.slots.look_soon(now)

    def usable_slots(self) -> Mapping[str, int]:
        """Return how many slots serve, or could serve, an attempt now, by resource class."""
        return self.slots.usable()

    def offers_ahead(self) -> int:
        """Return how many offers are kept for slots that may start before the next look."""
        return self.capacity.offers_ahead

    # ---------------------------------------------------------------- commands and limits

    def _obey(self, now: float) -> bool:
        changed = False
        for command in self.files.commands():
            if command.verb == "stop":
                changed |= self.feed([StopRequested(time=now, trial=command.trial)])
                if command.trial is None:
                    self.cancel_all()
            else:
                self.observer.message(f"unknown command {command.verb!r} is ignored")
            self.files.acknowledge(command)
        return changed

    def _times_up(self, now: float) -> list[Event]:
        wall = self.settings.wall_seconds
        if wall is None or self.study.halt or now - self.opened_time < wall:
            return []
        return [LimitReached(time=now, limit="wall_time")]

    # ---------------------------------------------------------------- looking, ending

    def _look(self, now: float, *, force: bool = False) -> None:
        if not force and now < self._next_overview:
            return
        self._next_overview = now + _OVERVIEW_SECONDS
        data = overview(self.study, self.surroundings(now))
        self.files.publish_overview(data)
        self.observer.looked(data)
        if self.study.scheduler.copies:
            self._publish_lineage()

    def _publish_lineage(self) -> None:
        heirs = [trial.number for trial in self.study.trials if trial.source is not None]
        if len(heirs) > self._heirs:
            self.files.publish_lineage([heir_record(self.study, heir) for heir in heirs])
            self._heirs = len(heirs)

    def surroundings(self, now: float) -> Surroundings:
        """Return what the study does not know: slots, reasons, times."""
        return Surroundings(
            name=self.settings.name,
            directory=self.settings.directory,
            backend=self.backend.name,
            resource=self.settings.resource,
            now=now,
            opened=self.opened_time,
            waiting=self.slots.waiting(),
            running_slots=self.slots.running(),
            expected_units=self.settings.expected_units,
            expected_trials=self.settings.expected_trials,
            parallel=self.settings.parallel,
            array_limit=self._array_limit(),
            queries=getattr(self.backend, "calls", None),
        )

    def _array_limit(self) -> int | None:
        """Return how many tasks of an array the user lets run at once; None: nothing is said."""
        limits = (request.array_limit for request in self.settings.requests.values())
        return min((limit for limit in limits if limit is not None), default=None)

    def _say_farewell(self) -> None:
        """Cancel what still waits in the queue, and let local slots leave."""
        arrays = self.study.fleet.live_arrays
        for token in list(arrays):
            if indices := self.slots.pending(token):
                self.slots.cancel(token, indices)
        deadline = self.clock.now() + _FAREWELL_SECONDS
        while arrays and self.backend.poll_seconds < 1 and self.clock.now() < deadline:
            self.clock.wait(0.1)
            self.slots.poll(self.clock.now())
