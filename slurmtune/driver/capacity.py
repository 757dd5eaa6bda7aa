"""How many attempts may be in flight: from what the driver measured of attempts and of itself."""

from __future__ import annotations

from math import ceil

from slurmtune.core.events import AttemptEnded
from slurmtune.core.trial import Outcome
from slurmtune.driver.parts import Desk

_RECENT = 32


class Capacity:
    """Counts what happens between two looks, and says how many attempts to keep in flight."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._gap_seconds = 0.0
        self._recent_seconds: list[float] = []
        self._recent_gaps: list[float] = []
        """Time between the two looks that the end of each of these attempts lay between."""

    def look(self, gap_seconds: float) -> None:
        """The driver looks again, so long after it looked last."""
        self._gap_seconds = gap_seconds

    def note_end(self, event: AttemptEnded) -> None:
        """An attempt ended since the driver looked last."""
        if event.outcome is Outcome.SUCCEEDED:
            self._recent_seconds = [*self._recent_seconds[1 - _RECENT :], event.seconds]
            self._recent_gaps = [*self._recent_gaps[1 - _RECENT :], self._gap_seconds]

    def wanted(self) -> int:
        """Return the attempts that may be in flight: the slots, and those ahead of them.

        So many offers are kept ahead as may be claimed before the loop looks again; none when
        attempts are long, so that each is chosen with the newest results.
        """
        parallel = self._desk.settings.parallel
        if not self._desk.settings.adaptive or not self._recent_seconds:
            return parallel
        mean = max(sum(self._recent_seconds) / len(self._recent_seconds), 0.05)
        gap = sum(self._recent_gaps) / len(self._recent_gaps)
        ahead = min(parallel, parallel * (2 * gap + 0.2) / mean)
        capacity = self._desk.study.capacity
        now_ahead = max(0, capacity - parallel)
        if now_ahead / 4 < ahead <= now_ahead:
            return capacity  # a little too much costs less than a capacity that swings
        return parallel + (
            0 if ahead < 0.5 else min(parallel, 1 << (ceil(ahead) - 1).bit_length())
        )
