"""The loop: read what workers wrote, ask the backend, feed the study, act; the same everywhere.

A tick is idempotent: whatever is interrupted is done again by the next tick or the next driver.
The order inside is what makes that true: an event is durable before its actions are carried out,
and the epoch is checked in between (`slurmtune.store.journal`).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

from slurmtune.backends.base import (
    ArraySpec,
    Backend,
    Clock,
    Exchange,
    SlotState,
    SlotStatus,
)
from slurmtune.core.actions import (
    Action,
    Finish,
    Offer,
    Propose,
    StopAttempt,
    Withdraw,
)
from slurmtune.core.events import (
    ArrayIntended,
    ArrayRefused,
    ArraySubmitted,
    AttemptClaimed,
    AttemptEnded,
    AttemptQueued,
    CapacityChanged,
    ConfigProposed,
    Event,
    LimitReached,
    Limits,
    OfferWithdrawn,
    SlotEnded,
    SpaceExhausted,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.fleet import ArrayRecord, ArrayState, SlotKey, slot_key
from slurmtune.core.overview import Surroundings, WaitingSlots, overview
from slurmtune.core.ports import Sampler
from slurmtune.core.record import AttemptRecord
from slurmtune.core.request import ResourceRequest, derive, exclude_nodes, parse_class
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.driver.ports import JournalPort, NoFiles, NoObserver, Observer, StudyFiles
from slurmtune.driver.recovery import record_of
from slurmtune.errors import (
    BackendError,
    BackendUnavailableError,
    SubmissionRefusedError,
    TransitionError,
)

_LOG = logging.getLogger(__name__)

_SETTLE_SECONDS = 12.0
"""An sbatch that timed out may still sit in the backlog of Slurm's controller for so long."""
_LONGEST_PAUSE_SECONDS = 600.0
"""Between two submissions that are refused for now."""
_OVERVIEW_SECONDS = 2.0
_BEAT_SECONDS = 10.0
_DEAD_SLOTS = 3
"""So many slots that end without claiming anything, one after the other, are no accident."""
_FAREWELL_SECONDS = 8.0
_RECENT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How the loop behaves; what it decides is the study's business."""

    name: str
    directory: str
    resource: str
    parallel: int
    """Attempts that may be in flight, queued and running together."""
    requests: Mapping[str, ResourceRequest]
    """Resource classes by name."""
    reuse: bool = True
    grace_seconds: float = 60.0
    """How long the last records of a slot that is gone are waited for."""
    shortest_tick_seconds: float = 0.1
    longest_tick_seconds: float = 2.0
    wall_seconds: float | None = None
    """Time that the study may take since it was first opened."""
    expected_units: float | None = None
    adaptive: bool = True
    """Whether more offers than slots are kept out when attempts are shorter than a few ticks."""


class _Suspect(NamedTuple):
    """A running attempt whose slot is gone: when to give it up, and as what."""

    deadline: float
    outcome: Outcome
    reason: str


@dataclass(slots=True)
class _Submission:
    """An array on its way."""

    array: ArraySpec
    next_try: float
    look_first: bool
    """Whether an earlier sbatch may have succeeded: look for the token before the next one."""


@dataclass(slots=True, kw_only=True)
class Driver:
    """One driver of one study."""

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
    _unsaved: list[dict[str, Any]] = field(default_factory=list)
    _slots: dict[SlotKey, SlotStatus] = field(default_factory=dict)
    _restarts: dict[SlotKey, int] = field(default_factory=dict)
    _suspects: dict[str, _Suspect] = field(default_factory=dict)
    _submissions: dict[str, _Submission] = field(default_factory=dict)
    _arrays_made: int = 0
    _next_submit: float = 0.0
    _refusals: int = 0
    """How often in a row a submission was refused for now."""
    _next_poll: float = 0.0
    _next_overview: float = 0.0
    _next_beat: float = 0.0
    _tick_seconds: float = 0.0
    _dead_slots: int = 0
    _last_words: str = ""
    """Why the newest of them ended."""
    _recent_seconds: list[float] = field(default_factory=list)
    _recent_gaps: list[float] = field(default_factory=list)
    """Time between the two looks that the end of each of these attempts lay between."""
    _last_tick: float | None = None
    _gap_seconds: float = 0.0
    _is_silent: bool = False
    _hopeless: frozenset[SlotKey] = frozenset()
    _excluded: frozenset[str] = frozenset()
    _idle: frozenset[str] | None = None
    """Classes whose idle slots were told to leave; None: not looked at yet."""
    _released: set[str] = field(default_factory=set)
    """Arrays whose waiting slots were cancelled since nothing is left for them."""
    _most_slots: int | None = None
    """In one array, after a limit on jobs was reached; grows again with each submission."""
    _told_refusal: str = ""
    _uses_all_nodes: bool = False
    """Whether Slurm refused what leaves failing nodes out."""

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
        self._feed(self.settled)
        for array in list(self.study.fleet.live_arrays.values()):
            self._adopt(array, now)
        for trial in self.study.trials:
            for attempt in trial.attempts:
                self._note_slot(attempt.slot)
        self._feed([StudyOpened(time=now, spec_sha256=spec_sha256, limits=limits)])
        self._carry_out(self.study.open_actions())
        self._feed([CapacityChanged(time=now, attempts=self._wanted_capacity())])

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
                break
            self.clock.wait(self._tick_seconds)

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
            self._cancel(token, None)

    def _cancel(self, token: str, indices: Sequence[int] | None) -> None:
        try:
            self.backend.cancel(token, indices)
        except BackendUnavailableError as error:
            self.observer.message(f"{token} could not be cancelled: {error}")

    def tick(self) -> bool:
        """Look once at everything and act; tell whether anything happened."""
        now = self.clock.now()
        self._gap_seconds = 0.0 if self._last_tick is None else now - self._last_tick
        self._last_tick = now
        if self._gap_seconds < 0:
            self._follow_clock(self._gap_seconds)
            self._gap_seconds = 0.0
        changed = self._feed(self.exchange.read(now))
        changed |= self._obey(now)
        changed |= self._poll(now)
        changed |= self._feed(self._overdue(now))
        changed |= self._feed(self._times_up(now))
        if self.settings.adaptive:
            # No sign of life outside: it must not shorten the next wait.
            self._feed([CapacityChanged(time=now, attempts=self._wanted_capacity())])
        self._announce_idle()
        changed |= self._submit(now)
        self._look(now)
        if now >= self._next_beat:
            # A driver that was replaced must not put its name into the lease of the new one.
            self.journal.check_owner()
            self.files.beat(now)
            self._next_beat = now + _BEAT_SECONDS
        return changed

    def _follow_clock(self, seconds: float) -> None:
        """Move all that is planned by as much as the clock was set back; else nothing is done."""
        self._next_submit += seconds
        self._next_poll += seconds
        self._next_overview += seconds
        self._next_beat += seconds
        for submission in self._submissions.values():
            submission.next_try += seconds
        for name, suspect in self._suspects.items():
            self._suspects[name] = suspect._replace(deadline=suspect.deadline + seconds)

    # ---------------------------------------------------------------- feeding the study

    def _feed(self, events: Iterable[Event]) -> bool:
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
        self._unsaved.append(record_of(event, actions))
        self._note(event)
        self.observer.applied(event, self.study)
        return actions

    def _save(self) -> None:
        self.journal.append(self._unsaved)
        self._unsaved.clear()

    def _note(self, event: Event) -> None:
        """Keep what the loop itself needs to remember of an event."""
        if isinstance(event, AttemptClaimed):
            self._note_slot(event.slot)
            self._note_array(slot_key(event.slot).token, event.time)
            self._dead_slots = 0
        elif isinstance(event, AttemptEnded):
            self._suspects.pop(event.attempt, None)
            self.exchange.forget(event.attempt)
            if event.outcome is Outcome.SUCCEEDED:
                self._recent_seconds = [*self._recent_seconds[1 - _RECENT :], event.seconds]
                self._recent_gaps = [*self._recent_gaps[1 - _RECENT :], self._gap_seconds]

    def _note_array(self, token: str, now: float) -> None:
        """Look for the job of an array that was refused, but whose slot claimed something."""
        array = self.study.fleet.live_arrays.get(token)
        if array is None or array.state is not ArrayState.INTENDED or token in self._submissions:
            return
        self._adopt(array, now)

    def _note_slot(self, slot: str) -> None:
        """Remember the newest incarnation of a slot that claimed something."""
        restart = int(slot.rpartition(".")[2] or 0)
        if restart:
            key = slot_key(slot)
            self._restarts[key] = max(restart, self._restarts.get(key, 0))

    def _propose(self, trial: int) -> Event:
        now = self.clock.now()
        config = self.sampler.propose(trial, self.study.history, self.study.settings.seed)
        if config is None:
            return SpaceExhausted(time=now, trial=trial)
        return ConfigProposed(
            time=now, trial=trial, config=config, origin=self.sampler.origin(trial)
        )

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
                        self._feed([OfferWithdrawn(time=self.clock.now(), attempt=attempt)])
                case StopAttempt(attempt=attempt):
                    self.exchange.request_stop(attempt)
                case Propose(trial=trial):
                    self._feed([self._propose(trial)])
                case Finish():
                    self.files.announce_end(finished=True)
                case _:
                    raise TypeError(f"not an action: {action!r}")

    # ---------------------------------------------------------------- commands and limits

    def _obey(self, now: float) -> bool:
        changed = False
        for command in self.files.commands():
            if command.verb == "stop":
                changed |= self._feed([StopRequested(time=now, trial=command.trial)])
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

    def _wanted_capacity(self) -> int:
        """Return the attempts that may be in flight: the slots, and those ahead of them.

        So many offers are kept ahead as may be claimed before the loop looks again; none when
        attempts are long, so that each is chosen with the newest results.
        """
        parallel = self.settings.parallel
        if not self.settings.adaptive or not self._recent_seconds:
            return parallel
        mean = max(sum(self._recent_seconds) / len(self._recent_seconds), 0.05)
        gap = sum(self._recent_gaps) / len(self._recent_gaps)
        ahead = min(parallel, parallel * (2 * gap + 0.2) / mean)
        now_ahead = max(0, self.study.capacity - parallel)
        if now_ahead / 4 < ahead <= now_ahead:
            return self.study.capacity  # a little too much costs less than a capacity that swings
        return parallel + (
            0 if ahead < 0.5 else min(parallel, 1 << (ceil(ahead) - 1).bit_length())
        )

    # ---------------------------------------------------------------- the backend's slots

    def _poll(self, now: float) -> bool:
        if now < self._next_poll:
            return False
        self._next_poll = now + self.backend.poll_seconds
        try:
            statuses = self.backend.poll()
        except BackendUnavailableError as error:
            self._hear_nothing(error)
            return False
        if self._is_silent:
            self._is_silent = False
            self.observer.message(f"{self.backend.name} answers again")
        events: list[SlotEnded] = []
        waiting: dict[SlotKey, bool] = {}
        failed_nodes: dict[SlotKey, str] = {}
        unused: Counter[str] = Counter()
        for status in statuses:
            key = SlotKey(status.token, status.index)
            before = self._slots.get(key)
            if status.state is SlotState.ENDED:
                self._slots.pop(key, None)
                events.append(self._slot_ended(status, key, now))
                if self._is_unused(key) and events[-1].outcome in _BROKEN:
                    unused[self._why_unused(status, before)] += 1
                continue
            if status.state is SlotState.PENDING:
                waiting[key] = before is not None and before.state is SlotState.RUNNING
                failed_nodes[key] = status.failed_node
            self._slots[key] = status
        for words, count in unused.items():
            self.observer.message(f"{count} slot{'s' * (count > 1)} {words}")
        self._suspect_requeued(waiting, failed_nodes, now)
        changed = self._feed(events)
        self._check_dead_slots()
        self._check_hopeless_slots(statuses)
        self._release_surplus()
        return changed

    def _slot_ended(self, status: SlotStatus, key: SlotKey, now: float) -> SlotEnded:
        return SlotEnded(
            time=now,
            token=key.token,
            index=key.task,
            outcome=status.outcome or Outcome.LOST,
            reason=status.reason,
            node=status.node,
        )

    def _is_unused(self, key: SlotKey) -> bool:
        array = self.study.fleet.arrays.get(key.token)
        return array is not None and key.task not in array.used

    def _why_unused(self, status: SlotStatus, before: SlotStatus | None) -> str:
        """Return what became of a slot that ended without claiming anything, and count it."""
        is_lost = status.outcome in {None, Outcome.LOST}
        if is_lost and before is not None and before.state is SlotState.PENDING:
            # Cancelled by its user, or forgotten by Slurm: no sign that slots cannot work.
            return "that waited left the queue, as after scancel; more are submitted if needed"
        self._dead_slots += 1
        self._last_words = f" ({status.reason})" if status.reason else ""
        return "ended before claiming anything" + (f": {status.reason}" if status.reason else "")

    def _check_dead_slots(self) -> None:
        """Stop submitting when slots die before they do anything.

        Raises:
            BackendError: they do.
        """
        if self._dead_slots >= _DEAD_SLOTS and not self.study.finished:
            raise BackendError(
                f"{self._dead_slots} slots in a row ended before they could claim anything"
                f"{self._last_words}; nothing more is submitted. Look at the newest file in "
                f"{self.settings.directory}/logs: is [env] right, and is the study's directory "
                "visible on the nodes?"
            )

    def _announce_idle(self) -> None:
        """Let idle slots leave whose class has nothing on offer while another class waits.

        They would hold their GPUs for as long as they linger.
        """
        demand = self.study.demand()
        waiting = {name for name, wanted in demand.items() if wanted.offered}
        live = {array.resource_class for array in self.study.fleet.live_arrays.values()}
        idle = frozenset(live - waiting) if waiting else frozenset()
        if idle != self._idle:
            self.files.announce_idle(idle)
            self._idle = idle

    def _release_surplus(self) -> None:
        """Cancel slots that wait for nothing: their class has no offer and gets no new trial.

        What is still promoted within the class goes on in its slots that run: each result frees
        one. Slots of a class that the spec no longer has would wait for ever.
        """
        if not self.settings.reuse or self._suspects:
            return  # a suspect is repeated soon, in one of these slots
        busy = {name for name, demand in self.study.demand().items() if demand.offered}
        if self.study.may_start_trials and not self.study.halt:
            busy.add(self.study.limits.rung_classes[0])
        for token, array in list(self.study.fleet.live_arrays.items()):
            waiting = [
                key.task
                for key, status in self._slots.items()
                if key.token == token and status.state is SlotState.PENDING
            ]
            if waiting and array.resource_class not in busy and token not in self._released:
                self._released.add(token)
                self._cancel(token, waiting)

    def _check_hopeless_slots(self, statuses: Sequence[SlotStatus]) -> None:
        """Cancel slots that can never start, when two looks in a row say so.

        Raises:
            BackendError: there are some.
        """
        stuck = {SlotKey(s.token, s.index): s.hopeless for s in statuses if s.hopeless}
        again = {key: why for key, why in stuck.items() if key in self._hopeless}
        self._hopeless = frozenset(stuck)
        if not again:
            return
        for token in sorted({key.token for key in again}):
            self._cancel(token, [key.task for key in again if key.token == token])
        reasons = "; ".join(dict.fromkeys(again.values()))
        jobs = "1 job" if len(again) == 1 else f"{len(again)} jobs"
        raise BackendError(
            f"{jobs} can never start: {reasons}; cancelled. Change [slurm] and launch again"
        )

    def _suspect_requeued(
        self, waiting: Mapping[SlotKey, bool], failed_nodes: Mapping[SlotKey, str], now: float
    ) -> None:
        """Suspect what ran in slots that wait; the value tells whether the slot was seen to run.

        Where it was not, an old answer of the backend may be the reason: what was claimed within
        the grace is left alone.
        """
        grace = self.settings.grace_seconds
        for attempt in self.study.live.values() if waiting else ():
            if attempt.state is not AttemptState.RUNNING:
                continue
            key = slot_key(attempt.slot)
            ran, node = waiting.get(key), failed_nodes.get(key)
            since = attempt.started_time
            if ran or (ran is False and since is not None and now - since > grace):
                outcome = Outcome.NODE_FAILED if node else Outcome.PREEMPTED
                why = f"{node} failed, and Slurm" if node else "Slurm"
                suspect = _Suspect(now + grace, outcome, f"{why} requeued its slot")
                self._suspects.setdefault(attempt.id, suspect)

    def _overdue(self, now: float) -> list[Event]:
        """Return the end of attempts whose slot has been gone for longer than the grace."""
        for attempt in self.study.live.values():
            if attempt.state is AttemptState.RUNNING and attempt.id not in self._suspects:
                found = self._why_gone(attempt)
                if found is not None:
                    deadline = now + self.settings.grace_seconds
                    self._suspects[attempt.id] = _Suspect(deadline, *found)
        return [
            AttemptEnded(
                time=now,
                attempt=name,
                seq=None,
                outcome=suspect.outcome,
                seconds=self.study.attempt(name).seconds_until(now),
                cause=suspect.reason,
            )
            for name, suspect in sorted(self._suspects.items())
            if now >= suspect.deadline
        ]

    def _why_gone(self, attempt: AttemptRecord) -> tuple[Outcome, str] | None:
        """Return how the slot of a running attempt was lost, or None while it lives."""
        key = slot_key(attempt.slot)
        if int(attempt.slot.rpartition(".")[2]) < self._restarts.get(key, 0):
            return Outcome.PREEMPTED, "Slurm restarted its slot"
        if self.study.fleet.is_live(attempt.slot):
            return None
        outcome = self.study.fleet.outcome(attempt.slot) or Outcome.LOST
        if outcome in {Outcome.SUCCEEDED, Outcome.FAILED}:
            outcome = Outcome.LOST
        elif outcome is Outcome.CANCELLED:
            # Its job was cancelled, not the trial: a slot that can still speak says the same.
            outcome = Outcome.PREEMPTED
        return outcome, f"its slot {key.token}[{key.task}] is gone ({outcome.value})"

    def _hear_nothing(self, error: BackendUnavailableError) -> None:
        if not self._is_silent:
            self._is_silent = True
            self.observer.message(
                f"{self.backend.name} does not answer ({error}); trying again, "
                "running jobs are not affected"
            )

    # ---------------------------------------------------------------- submission, exactly once

    def _adopt(self, array: ArrayRecord, now: float) -> None:
        spec = ArraySpec(
            token=array.token,
            request=self._request(array.resource_class, now),
            size=array.size,
            manifest_sha256="",
        )
        if array.state is ArrayState.SUBMITTED:
            self.backend.adopt(spec, array.job)
        else:
            # The clock of the driver that intended it may have been ahead: never wait for longer.
            settled = min(array.intended_time, now) + _SETTLE_SECONDS
            next_try = max(now, settled)
            self._submissions[array.token] = _Submission(spec, next_try, look_first=True)

    def _submit(self, now: float) -> bool:
        changed = False
        for submission in list(self._submissions.values()):
            if now >= submission.next_try:
                changed |= self._try_submission(submission, now)
        if self._submissions or now < self._next_submit or self.study.finished:
            return changed
        missing = self.study.fleet.shortfall(
            self.study.demand(), self.settings.parallel, reuse=self.settings.reuse
        )
        for name, count in missing.items():
            try:
                size = self._allowed_size(count)
            except BackendUnavailableError as error:
                self._hear_nothing(error)
                self._next_submit = now + _SETTLE_SECONDS
                break
            if size > 0:
                self._next_submit = now + self.backend.submit_interval_seconds
                changed |= self._submit_array(name, size, now)
                break
        return changed

    def _allowed_size(self, wanted: int) -> int:
        limits = self.backend.limits()
        live = sum(array.live for array in self.study.fleet.live_arrays.values())
        if self._most_slots is not None:
            wanted = min(wanted, self._most_slots)
        if limits.max_live_slots is not None:
            wanted = min(wanted, limits.max_live_slots - live)
        return wanted if limits.max_array_size is None else min(wanted, limits.max_array_size)

    def _submit_array(self, resource_class: str, size: int, now: float) -> bool:
        self._arrays_made += 1
        token = self.make_token(self._arrays_made)
        request = self._request(resource_class, now)
        self._feed(
            [ArrayIntended(time=now, token=token, resource_class=resource_class, size=size)]
        )
        spec = ArraySpec(token=token, request=request, size=size, manifest_sha256="")
        self._submissions[token] = _Submission(spec, now, look_first=False)
        return self._try_submission(self._submissions[token], now)

    def _request(self, resource_class: str, now: float) -> ResourceRequest:
        """Return what slots of this class ask for now: grown, and without the nodes that fail."""
        name = parse_class(resource_class)
        base = self.settings.requests.get(name.base)
        if base is None:
            # A class that the spec no longer has: its slots live on, none is submitted any more.
            return ResourceRequest(name=resource_class)
        if name.longer or name.larger:
            base = derive(base, name, self._longest_seconds(base))
        excluded = () if self._uses_all_nodes else self.study.excluded_nodes(now)
        for node in excluded:
            if node not in self._excluded:
                self.observer.message(f"{node} failed repeatedly: left out for a day")
        self._excluded = frozenset(excluded)
        return exclude_nodes(base, excluded)

    def _longest_seconds(self, request: ResourceRequest) -> int | None:
        try:
            longest = self.backend.limits().longest_seconds
        except BackendUnavailableError:
            return None  # then Slurm says so itself, and such slots are cancelled
        partitions = dict(request.options).get("partition", "")
        known = [longest.get(one) for one in str(partitions).split(",")]
        return min((seconds for seconds in known if seconds is not None), default=None)

    def _try_submission(self, submission: _Submission, now: float) -> bool:
        spec = submission.array
        self.journal.check_owner()
        try:
            job = self.backend.find(spec.token) if submission.look_first else None
            if job is not None:
                self.backend.adopt(spec, job)
            else:
                sha256 = self.files.publish_manifest(spec.token, spec.request, spec.size)
                job = self.backend.submit(
                    ArraySpec(
                        token=spec.token,
                        request=spec.request,
                        size=spec.size,
                        manifest_sha256=sha256,
                    )
                )
        except BackendUnavailableError as error:
            self._hear_nothing(error)
            submission.look_first, submission.next_try = True, now + _SETTLE_SECONDS
            return False
        except SubmissionRefusedError as error:
            del self._submissions[spec.token]
            self._feed([ArrayRefused(time=now, token=spec.token, message=str(error))])
            if error.retryable:
                self._wait_for_room(error, spec.size, now)
            elif self._excluded and not self._uses_all_nodes:
                self._uses_all_nodes = True
                nodes = ", ".join(sorted(self._excluded))
                self.observer.message(f"without {nodes} Slurm refuses ({error}): used again")
            else:
                raise
            return True
        del self._submissions[spec.token]
        self._refusals = 0
        if self._most_slots is not None:
            grown = 2 * self._most_slots
            self._most_slots = None if grown >= self.settings.parallel else grown
        self._next_poll = min(self._next_poll, now + min(1.0, self.backend.poll_seconds / 2))
        return self._feed([ArraySubmitted(time=now, token=spec.token, job=job)])

    def _wait_for_room(self, error: SubmissionRefusedError, size: int, now: float) -> None:
        """Ask for less and later: other jobs may take most of what the user may have."""
        pause = 6 * max(self.backend.submit_interval_seconds, 5.0) * 2 ** min(self._refusals, 9)
        # Each try is a line of the journal and a folder, and a queue may be full for days.
        self._next_submit = now + min(pause, _LONGEST_PAUSE_SECONDS)
        self._refusals += size == 1
        self._most_slots = max(1, size // 2)
        if str(error) != self._told_refusal:
            self._told_refusal = str(error)
            self.observer.message(f"{error}; the rest is submitted later")

    # ---------------------------------------------------------------- looking, ending

    def _look(self, now: float, *, force: bool = False) -> None:
        if not force and now < self._next_overview:
            return
        self._next_overview = now + _OVERVIEW_SECONDS
        data = overview(self.study, self.surroundings(now))
        self.files.publish_overview(data)
        self.observer.looked(data)

    def surroundings(self, now: float) -> Surroundings:
        """Return what the study does not know: slots, reasons, times."""
        waiting = [s for s in self._slots.values() if s.state is SlotState.PENDING]
        running = sum(s.state is SlotState.RUNNING for s in self._slots.values())
        return Surroundings(
            name=self.settings.name,
            directory=self.settings.directory,
            backend=self.backend.name,
            resource=self.settings.resource,
            now=now,
            opened=self.opened_time,
            waiting=_grouped(waiting),
            running_slots=running,
            expected_units=self.settings.expected_units,
            queries=getattr(self.backend, "calls", None),
        )

    def _say_farewell(self) -> None:
        """Cancel what still waits in the queue, and let local slots leave."""
        arrays = self.study.fleet.live_arrays
        for token in list(arrays):
            indices = [
                key.task
                for key, status in self._slots.items()
                if key.token == token and status.state is SlotState.PENDING
            ]
            if indices:
                self._cancel(token, indices)
        deadline = self.clock.now() + _FAREWELL_SECONDS
        while arrays and self.backend.poll_seconds < 1 and self.clock.now() < deadline:
            self.clock.wait(0.1)
            self._poll(self.clock.now())


_BROKEN = frozenset({Outcome.FAILED, Outcome.LOST})


def _grouped(waiting: Sequence[SlotStatus]) -> list[WaitingSlots]:
    """Return the waiting slots by reason, the most frequent reason first."""
    counts = Counter(status.reason for status in waiting)
    return [
        WaitingSlots(
            reason=reason,
            slots=count,
            start=min(
                (
                    s.start_estimate
                    for s in waiting
                    if s.reason == reason and s.start_estimate is not None
                ),
                default=None,
            ),
        )
        for reason, count in counts.most_common()
    ]
