"""The system's clock: the only place where the driver reads time."""

from __future__ import annotations

import threading
import time

_SHARE = 0.02
"""Most of one core that the driver may use: it runs on a login node."""
_LONGEST_REST_SECONDS = 10.0


_WEIGHT = 0.05
"""Of the newest work in the average: a single import is no reason to rest for seconds."""


class SystemClock:
    """Real time. `wait` rests longer when work is expensive, so the driver stays light."""

    def __init__(self) -> None:
        self._interrupt = threading.Event()
        self._work_began: float | None = None
        self._mean_work_seconds = 0.0

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or at once after `interrupt`."""
        if self._work_began is not None:
            worked = time.process_time() - self._work_began
            self._mean_work_seconds += _WEIGHT * (worked - self._mean_work_seconds)
        rest = min(self._mean_work_seconds / _SHARE, _LONGEST_REST_SECONDS)
        self._interrupt.wait(max(seconds, rest))
        self._interrupt.clear()
        self._work_began = time.process_time()

    def interrupt(self) -> None:
        """End a wait early; may be called by a signal handler."""
        self._interrupt.set()
