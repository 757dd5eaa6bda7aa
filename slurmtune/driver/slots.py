"""What the driver makes of the backend's word on slots: who waits, runs, is gone or is in the way.

A slot that is gone leaves a suspect: its attempt is given up when its last records have had time
to arrive. Slots that cannot work, never start, or wait for nothing are noticed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from slurmtune.backends.base import SlotState, SlotStatus
from slurmtune.core.events import AttemptEnded, Event, SlotEnded
from slurmtune.core.fleet import SlotKey, slot_key
from slurmtune.core.overview import WaitingSlots
from slurmtune.core.record import AttemptRecord
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.driver.parts import Desk, class_of_new_trials
from slurmtune.errors import BackendError, BackendUnavailableError

_DEAD_SLOTS = 3
"""So many slots that end without claiming anything, one after the other, are no accident."""
_BROKEN = frozenset({Outcome.FAILED, Outcome.LOST})


class Suspect(NamedTuple):
    """A running attempt whose slot is gone: when to give it up, and as what."""

    deadline: float
    outcome: Outcome
    reason: str


class SlotWatch:
    """The slots as the backend told of them last."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.statuses: dict[SlotKey, SlotStatus] = {}
        """Of all slots that wait or run."""
        self.is_silent = False
        self._suspects: dict[str, Suspect] = {}
        self._restarts: dict[SlotKey, int] = {}
        self._waits_again: set[SlotKey] = set()
        """Slots that claimed something and wait in the queue once more."""
        self._next_poll = 0.0
        self._dead_slots = 0
        self._earlier: frozenset[str] | None = None
        """Arrays of earlier launches; what made their slots die may have been mended since."""
        self._last_words = ""
        """Why the newest of them ended."""
        self._hopeless: frozenset[SlotKey] = frozenset()
        self._idle: frozenset[str] | None = None
        """Classes whose idle slots were told to leave; None: not looked at yet."""
        self._released: set[str] = set()
        """Arrays whose waiting slots were cancelled since nothing is left for them."""

    # ---------------------------------------------------------------- what others tell

    def note_slot(self, slot: str) -> None:
        """Remember the newest incarnation of a slot that claimed something."""
        restart = int(slot.rpartition(".")[2] or 0)
        if restart:
            key = slot_key(slot)
            self._restarts[key] = max(restart, self._restarts.get(key, 0))

    def note_claim(self, slot: str) -> None:
        """A slot claimed something: slots can work."""
        self.note_slot(slot)
        self._waits_again.discard(slot_key(slot))
        self._dead_slots = 0

    def note_end(self, attempt: str) -> None:
        """An attempt is over."""
        self._suspects.pop(attempt, None)

    def follow_clock(self, seconds: float) -> None:
        """Move all that is planned by as much as the clock was set."""
        self._next_poll += seconds
        for name, suspect in self._suspects.items():
            self._suspects[name] = suspect._replace(deadline=suspect.deadline + seconds)

    def look_soon(self, now: float) -> None:
        """Poll earlier than it is due."""
        soon = now + min(1.0, self._desk.backend.poll_seconds / 2)
        self._next_poll = min(self._next_poll, soon)

    def hear_nothing(self, error: BackendUnavailableError) -> None:
        """The backend gave no answer; said once until it answers again."""
        if not self.is_silent:
            self.is_silent = True
            self._desk.observer.message(
                f"{self._desk.backend.name} does not answer ({error}); trying again, "
                "running jobs are not affected"
            )

    # ---------------------------------------------------------------- looking

    def poll(self, now: float) -> bool:
        """Ask the backend when it is time to; tell whether the study learned anything.

        Raises:
            BackendError: slots die before they do anything, or can never start.
        """
        if self._earlier is None:
            self._earlier = frozenset(self._desk.study.fleet.arrays)
        if now < self._next_poll:
            return False
        self._next_poll = now + self._desk.backend.poll_seconds
        try:
            statuses = self._desk.backend.poll()
        except BackendUnavailableError as error:
            self.hear_nothing(error)
            return False
        if self.is_silent:
            self.is_silent = False
            self._desk.observer.message(f"{self._desk.backend.name} answers again")
        changed = self._take(statuses, now)
        self._check_dead_slots()
        self._check_hopeless_slots(statuses)
        self._release_surplus()
        return changed

    def _take(self, statuses: Sequence[SlotStatus], now: float) -> bool:
        events: list[SlotEnded] = []
        waiting: dict[SlotKey, bool] = {}
        failed_nodes: dict[SlotKey, str] = {}
        unused: Counter[str] = Counter()
        for status in statuses:
            key = SlotKey(status.token, status.index)
            before = self.statuses.get(key)
            if status.state is SlotState.ENDED:
                self.statuses.pop(key, None)
                self._waits_again.discard(key)
                events.append(_slot_ended(status, now))
                if self._is_unused(key) and events[-1].outcome in _BROKEN:
                    unused[self._why_unused(status, before)] += 1
                continue
            if status.state is SlotState.PENDING:
                waiting[key] = before is not None and before.state is SlotState.RUNNING
                failed_nodes[key] = status.failed_node
                if waiting[key]:
                    self._waits_again.add(key)
            else:
                self._waits_again.discard(key)
            self.statuses[key] = status
        for words, count in unused.items():
            self._desk.observer.message(f"{count} slot{'s' * (count > 1)} {words}")
        self._suspect_requeued(waiting, failed_nodes, now)
        return self._desk.feed(events)

    def pending(self, token: str) -> list[int]:
        """Return the slots of this array that wait."""
        return [
            key.task
            for key, status in self.statuses.items()
            if key.token == token and status.state is SlotState.PENDING
        ]

    def waiting(self) -> list[WaitingSlots]:
        """Return the waiting slots by reason, the most frequent reason first."""
        waiting = [s for s in self.statuses.values() if s.state is SlotState.PENDING]
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

    def running(self) -> int:
        """Return how many slots run."""
        return sum(status.state is SlotState.RUNNING for status in self.statuses.values())

    def usable(self) -> Counter[str]:
        """Return how many slots serve, or could serve, an attempt now, by resource class.

        A slot that claimed something runs, whatever an older answer of the backend says.
        """
        study, reuse = self._desk.study, self._desk.settings.reuse
        arrays = study.fleet.live_arrays
        keys = {
            slot_key(attempt.slot)
            for attempt in study.live.values()
            if attempt.state is AttemptState.RUNNING and study.fleet.is_live(attempt.slot)
        }
        for token, array in arrays.items():
            if reuse:
                claimed = (SlotKey(token, task) for task in array.used - array.ended.keys())
                keys.update(key for key in claimed if key not in self._waits_again)
        for key, status in self.statuses.items():
            found = arrays.get(key.token)
            runs = found is not None and status.state is SlotState.RUNNING
            if runs and (reuse or key.task not in arrays[key.token].used):
                keys.add(key)
        return Counter(arrays[key.token].resource_class for key in keys)

    # ---------------------------------------------------------------- slots that do nothing

    def _is_unused(self, key: SlotKey) -> bool:
        array = self._desk.study.fleet.arrays.get(key.token)
        return array is not None and key.task not in array.used

    def _why_unused(self, status: SlotStatus, before: SlotStatus | None) -> str:
        """Return what became of a slot that ended without claiming anything, and count it."""
        is_lost = status.outcome in {None, Outcome.LOST}
        if is_lost and before is not None and before.state is SlotState.PENDING:
            # Cancelled by its user, or forgotten by Slurm: no sign that slots cannot work.
            return "that waited left the queue, as after scancel; more are submitted if needed"
        self._dead_slots += status.token not in (self._earlier or ())
        self._last_words = f" ({status.reason})" if status.reason else ""
        return "ended before claiming anything" + (f": {status.reason}" if status.reason else "")

    def _check_dead_slots(self) -> None:
        """Stop submitting when slots die before they do anything.

        Raises:
            BackendError: they do.
        """
        if self._dead_slots >= _DEAD_SLOTS and not self._desk.study.finished:
            raise BackendError(
                f"{self._dead_slots} slots in a row ended before they could claim anything"
                f"{self._last_words}; nothing more is submitted. Look at the newest file in "
                f"{self._desk.settings.directory}/logs: is [env] right, and is the study's "
                "directory visible on the nodes?"
            )

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
            self.cancel(token, [key.task for key in again if key.token == token])
        reasons = "; ".join(dict.fromkeys(again.values()))
        jobs = "1 job" if len(again) == 1 else f"{len(again)} jobs"
        raise BackendError(
            f"{jobs} can never start: {reasons}; cancelled. Change [slurm] and launch again"
        )

    def announce_idle(self) -> None:
        """Let idle slots leave whose class has nothing on offer while another class waits.

        They would hold their GPUs for as long as they linger.
        """
        study = self._desk.study
        # Offers that are kept for slots which are still to start wait for nobody else.
        kept = {class_of_new_trials(study): self._desk.offers_ahead()}
        waiting = {
            name for name, wanted in study.demand().items() if wanted.offered > kept.get(name, 0)
        }
        live = {array.resource_class for array in study.fleet.live_arrays.values()}
        idle = frozenset(live - waiting) if waiting else frozenset()
        if idle != self._idle:
            self._desk.files.announce_idle(idle)
            self._idle = idle

    def _release_surplus(self) -> None:
        """Cancel slots that wait for nothing: their class has no offer and gets no new trial.

        What is still promoted within the class goes on in its slots that run: each result frees
        one. Slots of a class that the spec no longer has would wait for ever.
        """
        study = self._desk.study
        if not self._desk.settings.reuse or self._suspects:
            return  # a suspect is repeated soon, in one of these slots
        busy = {name for name, demand in study.demand().items() if demand.offered}
        if study.may_start_trials and not study.halt:
            busy |= {study.limits.rung_classes[0], class_of_new_trials(study)}
        for token, array in list(study.fleet.live_arrays.items()):
            waiting = self.pending(token)
            if waiting and array.resource_class not in busy and token not in self._released:
                self._released.add(token)
                self.cancel(token, waiting)

    def cancel(self, token: str, indices: Sequence[int] | None) -> None:
        """End these slots of the array, or all; say so when that fails."""
        try:
            self._desk.backend.cancel(token, indices)
        except BackendUnavailableError as error:
            self._desk.observer.message(f"{token} could not be cancelled: {error}")

    # ---------------------------------------------------------------- slots that are gone

    def _suspect_requeued(
        self, waiting: Mapping[SlotKey, bool], failed_nodes: Mapping[SlotKey, str], now: float
    ) -> None:
        """Suspect what ran in slots that wait; the value tells whether the slot was seen to run.

        Where it was not, an old answer of the backend may be the reason: what was claimed within
        the grace is left alone.
        """
        grace = self._desk.settings.grace_seconds
        for attempt in self._desk.study.live.values() if waiting else ():
            if attempt.state is not AttemptState.RUNNING:
                continue
            key = slot_key(attempt.slot)
            ran, node = waiting.get(key), failed_nodes.get(key)
            since = attempt.started_time
            if ran or (ran is False and since is not None and now - since > grace):
                outcome = Outcome.NODE_FAILED if node else Outcome.PREEMPTED
                why = f"{node} failed, and Slurm" if node else "Slurm"
                suspect = Suspect(now + grace, outcome, f"{why} requeued its slot")
                self._suspects.setdefault(attempt.id, suspect)

    def overdue(self, now: float) -> list[Event]:
        """Return the end of attempts whose slot has been gone for longer than the grace."""
        for attempt in self._desk.study.live.values():
            if attempt.state is AttemptState.RUNNING and attempt.id not in self._suspects:
                found = self.why_gone(attempt)
                if found is not None:
                    deadline = now + self._desk.settings.grace_seconds
                    self._suspects[attempt.id] = Suspect(deadline, *found)
        return [
            AttemptEnded(
                time=now,
                attempt=name,
                seq=None,
                outcome=suspect.outcome,
                seconds=self._desk.study.attempt(name).seconds_until(now),
                cause=suspect.reason,
            )
            for name, suspect in sorted(self._suspects.items())
            if now >= suspect.deadline
        ]

    def why_gone(self, attempt: AttemptRecord) -> tuple[Outcome, str] | None:
        """Return how the slot of a running attempt was lost, or None while it lives."""
        key, fleet = slot_key(attempt.slot), self._desk.study.fleet
        if int(attempt.slot.rpartition(".")[2]) < self._restarts.get(key, 0):
            return Outcome.PREEMPTED, "Slurm restarted its slot"
        if fleet.is_live(attempt.slot):
            return None
        outcome = fleet.outcome(attempt.slot) or Outcome.LOST
        if outcome in {Outcome.SUCCEEDED, Outcome.FAILED}:
            outcome = Outcome.LOST
        elif outcome is Outcome.CANCELLED:
            # Its job was cancelled, not the trial: a slot that can still speak says the same.
            outcome = Outcome.PREEMPTED
        return outcome, f"its slot {key.token}[{key.task}] is gone ({outcome.value})"


def _slot_ended(status: SlotStatus, now: float) -> SlotEnded:
    return SlotEnded(
        time=now,
        token=status.token,
        index=status.index,
        outcome=status.outcome or Outcome.LOST,
        reason=status.reason,
        node=status.node,
    )
