"""Arrays and their slots: what was submitted, what still lives, how many are missing.

The fleet is a fold of the same events as the study. How many slots are wanted follows from the
attempts that are on offer or running (README, "Slots").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from slurmtune.core.events import (
    ArrayIntended,
    ArrayRefused,
    ArraySubmitted,
    AttemptClaimed,
    Event,
    SlotEnded,
)
from slurmtune.core.trial import Outcome
from slurmtune.errors import TransitionError


class ArrayState(Enum):
    """How far the submission of an array got."""

    INTENDED = "INTENDED"
    """Recorded; sbatch may or may not have seen it."""
    SUBMITTED = "SUBMITTED"
    REFUSED = "REFUSED"


class SlotKey(NamedTuple):
    """One slot of one array."""

    token: str
    task: int


def slot_key(slot: str) -> SlotKey:
    """Return array and index of ``TOKEN.INDEX.RESTART``."""
    token, index, _ = slot.rsplit(".", 2)
    return SlotKey(token, int(index))


@dataclass(slots=True, kw_only=True)
class ArrayRecord:
    """One array of slots of one resource class."""

    token: str
    resource_class: str
    size: int
    intended_time: float
    state: ArrayState = ArrayState.INTENDED
    job: str = ""
    ended: dict[int, Outcome] = field(default_factory=dict)
    """How each slot that is over ended."""
    used: set[int] = field(default_factory=set)
    """Slots that claimed an attempt at least once."""

    @property
    def live(self) -> int:
        """How many of its slots may still be queued or running."""
        return 0 if self.state is ArrayState.REFUSED else self.size - len(self.ended)

    @property
    def unused(self) -> int:
        """How many of its live slots have claimed nothing yet."""
        return (
            0
            if self.state is ArrayState.REFUSED
            else self.size - len(self.ended.keys() | self.used)
        )


class Demand(NamedTuple):
    """Attempts of one resource class that need slots."""

    offered: int
    running: int


class Fleet:
    """All arrays of a study. Only arrays that still have live slots are looked at twice."""

    def __init__(self) -> None:
        self.arrays: dict[str, ArrayRecord] = {}
        self._live: dict[str, ArrayRecord] = {}
        self._handlers: dict[type[Event], Callable[..., bool]] = {
            ArrayIntended: self._intend,
            ArraySubmitted: self._submitted,
            ArrayRefused: self._refused,
            SlotEnded: self._end,
            AttemptClaimed: self._claimed,
        }

    @property
    def live_arrays(self) -> Mapping[str, ArrayRecord]:
        """Arrays that may still have a slot queued or running, by token."""
        return self._live

    def handle(self, event: Event) -> bool:
        """Apply the event if it concerns arrays or slots; tell whether anything changed."""
        handler = self._handlers.get(type(event))
        return handler is not None and handler(event)

    def use(self, slot: str) -> bool:
        """The slot ``TOKEN.INDEX.RESTART`` claimed an attempt; tell whether that was not known."""
        key = slot_key(slot)
        array = self.arrays.get(key.token)
        if array is None or not 0 <= key.task < array.size or key.task in array.used:
            return False
        if array.state is ArrayState.REFUSED:
            # An earlier driver slept before its sbatch, which came through after the refusal.
            array.state = ArrayState.INTENDED
            self._live[key.token] = array
        array.used.add(key.task)
        return True

    def is_live(self, slot: str) -> bool:
        """Tell whether ``TOKEN.INDEX.RESTART`` belongs to a slot that has not ended."""
        key = slot_key(slot)
        array = self._live.get(key.token)
        return array is not None and 0 <= key.task < array.size and key.task not in array.ended

    def was_used(self, event: SlotEnded) -> bool:
        """Tell whether the slot that ended had claimed an attempt."""
        array = self.arrays.get(event.token)
        return array is not None and event.index in array.used

    def outcome(self, slot: str) -> Outcome | None:
        """Return how the slot of ``TOKEN.INDEX.RESTART`` ended; None: not yet, or never known."""
        key = slot_key(slot)
        array = self.arrays.get(key.token)
        return None if array is None else array.ended.get(key.task)

    def shortfall(
        self,
        demand: Mapping[str, Demand],
        parallel: int,
        *,
        reuse: bool,
        ahead: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Return how many slots of each class should be submitted now.

        With reuse, a slot serves attempt after attempt, so as many slots as attempts are wanted,
        at most ``parallel``. Without, each offer needs a slot that has not claimed anything.
        Slots of a class that has less work than slots hold no room: they leave soon.

        ``ahead``: for these classes, how many slots of all classes should live in all, since work
        for them will be decided when they start; whatever ``parallel`` says.
        """
        live: dict[str, int] = {}
        for array in self._live.values():
            live[array.resource_class] = live.get(array.resource_class, 0) + array.live
        needed = {name: min(count, sum(demand.get(name, ()))) for name, count in live.items()}
        room = parallel - sum(needed.values())
        missing: dict[str, int] = {}
        for name in sorted(demand):
            mine = [a for a in self._live.values() if a.resource_class == name]
            if reuse:
                wanted = min(parallel, sum(demand[name])) - sum(a.live for a in mine)
            else:
                wanted = demand[name].offered - sum(a.unused for a in mine)
            wanted = min(wanted, room)
            if wanted > 0:
                missing[name] = wanted
                room -= wanted
        for name, total in (ahead or {}).items():
            others = sum(count for other, count in needed.items() if other != name)
            wanted = total - others - live.get(name, 0)
            if wanted > missing.get(name, 0):
                missing[name] = wanted
        return missing

    def _intend(self, event: ArrayIntended) -> bool:
        if event.token in self.arrays:
            raise TransitionError(f"array {event.token} was intended before")
        array = ArrayRecord(
            token=event.token,
            resource_class=event.resource_class,
            size=event.size,
            intended_time=event.time,
        )
        self.arrays[event.token] = self._live[event.token] = array
        return True

    def _submitted(self, event: ArraySubmitted) -> bool:
        array = self._array(event.token)
        changed = array.state is not ArrayState.SUBMITTED
        array.state, array.job = ArrayState.SUBMITTED, event.job
        return changed

    def _refused(self, event: ArrayRefused) -> bool:
        self._array(event.token).state = ArrayState.REFUSED
        return self._live.pop(event.token, None) is not None

    def _claimed(self, event: AttemptClaimed) -> bool:
        return self.use(event.slot)

    def _end(self, event: SlotEnded) -> bool:
        array = self._array(event.token)
        if event.index in array.ended:
            return False
        array.ended[event.index] = event.outcome
        if not array.live:
            self._live.pop(event.token, None)
        return True

    def _array(self, token: str) -> ArrayRecord:
        try:
            return self.arrays[token]
        except KeyError:
            raise TransitionError(f"no array {token} was intended") from None
