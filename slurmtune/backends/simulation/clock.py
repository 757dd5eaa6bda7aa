"""Virtual time: a heap of things to come, and a clock that jumps from one to the next.

Rule 1: nothing here sleeps or reads the real time. Rule 2: what is due at the same time happens in
the order in which it was scheduled. Rule 3: time passes only inside `VirtualClock.wait`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

from slurmtune.errors import UsageError


class Scheduled:
    """Something that will happen once, unless it is cancelled before."""

    __slots__ = ("_action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Let it not happen; harmless when it has happened."""
        self._action = None

    def happen(self) -> None:
        """Carry it out, at most once."""
        action, self._action = self._action, None
        if action is not None:
            action()


class VirtualClock:
    """A `Clock` whose `wait` jumps to what happens next.

    Args:
        start: the time at the beginning, in seconds since 1970.
        least_wait_seconds: a wait is not cut shorter than this by something that happened; it
            stands for the rhythm in which a real driver looks.
    """

    def __init__(self, *, start: float = 0.0, least_wait_seconds: float = 0.0) -> None:
        self.start = start
        self._now = start
        self._least_wait_seconds = least_wait_seconds
        self._heap: list[tuple[float, int, Scheduled]] = []
        self._count = 0
        self._woken = False

    def now(self) -> float:
        """Return the virtual time, in seconds since 1970."""
        return self._now

    def wait(self, seconds: float) -> None:
        """Jump to the first event that the driver can see, or by ``seconds``.

        Everything that is due until then happens, also what the driver cannot see.

        Raises:
            UsageError: ``seconds`` is not a finite number: nothing would end the wait.
        """
        if not math.isfinite(seconds):
            raise UsageError(f"cannot wait for {seconds} seconds of virtual time")
        begin = self._now
        until = begin + max(seconds, 0.0)
        self._woken = False
        shortened = False
        heap = self._heap
        while heap and heap[0][0] <= until:
            time, _, scheduled = heapq.heappop(heap)
            self._now = max(self._now, time)
            scheduled.happen()
            if self._woken and not shortened:
                shortened = True
                until = min(until, max(self._now, begin + self._least_wait_seconds))
        self._now = max(self._now, until)

    def call_at(self, time: float, action: Callable[[], None]) -> Scheduled:
        """Let ``action`` happen at ``time``, or as soon as time passes when that is over."""
        scheduled = Scheduled(action)
        self._count += 1
        heapq.heappush(self._heap, (max(time, self._now), self._count, scheduled))
        return scheduled

    def call_in(self, seconds: float, action: Callable[[], None]) -> Scheduled:
        """Let ``action`` happen ``seconds`` from now."""
        return self.call_at(self._now + seconds, action)

    def wake(self) -> None:
        """Say that something happened which the driver can see: its wait ends."""
        self._woken = True
