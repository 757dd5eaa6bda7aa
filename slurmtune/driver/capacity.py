"""How many attempts may be in flight: from what the driver measured of attempts, slots and itself.

Two reasons to publish offers before a slot is known that takes them: attempts so short that slots
would wait for the driver to look again, and slots that start between two looks. Everything else
is decided as late as possible, with the newest results.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from slurmtune.core.events import AttemptEnded
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.driver.parts import Desk, class_of_new_trials

_RECENT = 32


class Capacity:
    """Counts what happens between two looks, and says how many attempts to keep in flight."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._gap_seconds = 0.0
        self._recent_seconds: list[float] = []
        self._recent_gaps: list[float] = []
        """Time between the two looks that the end of each of these attempts lay between."""
        self._known: set[str] = set()
        """Slots that claimed something, as ``TOKEN.INDEX.RESTART``."""
        self._starts = 0
        """Slots that claimed for the first time since the look before."""
        self._recent_starts: deque[int] = deque(maxlen=_RECENT)
        self._reserve = 1
        """Offers for slots to come; more as long as slots find none."""
        self._ahead_of_looks = 0
        self.offers_ahead = 0
        """Offers that are kept for slots which may start before the next look."""

    def look(self, gap_seconds: float) -> None:
        """The driver looks again, so long after it looked last."""
        self._gap_seconds = gap_seconds
        self._recent_starts.append(self._starts)
        self._starts = 0

    def note_claim(self, slot: str) -> None:
        """A slot claimed an attempt since the driver looked last."""
        if slot not in self._known:
            self._known.add(slot)
            self._starts += 1

    def note_end(self, event: AttemptEnded) -> None:
        """An attempt ended since the driver looked last."""
        if event.outcome is Outcome.SUCCEEDED:
            self._recent_seconds = [*self._recent_seconds[1 - _RECENT :], event.seconds]
            self._recent_gaps = [*self._recent_gaps[1 - _RECENT :], self._gap_seconds]

    def wanted(self) -> int:
        """Return the attempts that may be in flight."""
        settings = self._desk.settings
        if settings.binds_late:
            return self._for_slots_that_run()
        parallel, capacity = settings.parallel, self._desk.study.capacity
        return parallel + self._short_work(parallel, max(0, capacity - parallel))

    def _short_work(self, slots: int, now_ahead: int) -> int:
        """Return how many offers to keep ahead of this many slots.

        As many as may be claimed before the loop looks again; none when attempts are long.
        """
        if not self._desk.settings.adaptive or not self._recent_seconds:
            return 0
        mean = max(sum(self._recent_seconds) / len(self._recent_seconds), 0.05)
        gap = sum(self._recent_gaps) / len(self._recent_gaps)
        parallel = self._desk.settings.parallel
        ahead = min(parallel, slots * (2 * gap + 0.2) / mean)
        if now_ahead / 4 < ahead <= now_ahead:
            return now_ahead  # a little too much costs less than a capacity that swings
        return 0 if ahead < 0.5 else min(parallel, 1 << (ceil(ahead) - 1).bit_length())

    def _for_slots_that_run(self) -> int:
        """Return one attempt for each slot that runs, and a few for those that may start soon.

        Work of other classes than that of new trials is what it is: a slot that new trials could
        use never waits because something else is waiting for its slot.
        """
        desk = self._desk
        usable, new = desk.usable_slots(), class_of_new_trials(desk.study)
        others = sum(sum(work) for name, work in desk.study.demand().items() if name != new)
        self.offers_ahead = self._few()
        slots = min(desk.settings.parallel, usable.get(new, 0) + others + self.offers_ahead)
        self._ahead_of_looks = self._short_work(slots, self._ahead_of_looks)
        return slots + self._ahead_of_looks

    def _few(self) -> int:
        """Return how many slots may start before the driver looks again; at least one."""
        live = self._desk.study.live.values()
        found_none = all(attempt.state is AttemptState.RUNNING for attempt in live)
        if self._starts and found_none:
            self._reserve = min(2 * self._reserve, self._desk.settings.parallel)
        elif not self._starts:
            self._reserve = max(self._reserve // 2, 1)
        mean = sum(self._recent_starts) / max(len(self._recent_starts), 1)
        return max(self._reserve, ceil(2 * mean))
