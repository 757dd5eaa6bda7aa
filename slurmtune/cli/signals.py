"""Ctrl-C and its like while a study is driven: heard at once, acted upon in a thread.

A handler in Python runs between two steps of the main thread, which may hold the very lock that
waking the loop needs. So the handlers do nothing: the interpreter writes the number of the signal
into a pipe, and a thread reads it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from slurmtune.cli import clock

SECOND_SECONDS = 5.0
"""A second Ctrl-C within this time cancels the jobs."""

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalWatch:
    """Calls ``on_first`` at the first SIGINT, SIGTERM or SIGHUP; remembers all of them.

    SIGINT is heard even where a shell started us in the background and had it ignored. An ignored
    SIGHUP stays ignored: that is what nohup is for.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self._on_first = on_first
        self._changed = threading.Condition()
        self._first: int | None = None
        self._first_time = 0.0
        self._is_second = False
        self._old: dict[signal.Signals, Any] = {}
        self._old_wakeup = -1
        self._pipe = (-1, -1)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)

    def __enter__(self) -> Self:
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._old_wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in _HEARD:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._old[number] = signal.signal(number, _leave_it_to_the_thread)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._pipe[1])
        self._thread.join(timeout=1.0)
        os.close(self._pipe[0])

    @property
    def first(self) -> int | None:
        """Number of the first signal; None when there was none."""
        return self._first

    def wait_for_second(self) -> bool:
        """Tell whether a second Ctrl-C follows the first in time; waits as long as it may."""
        with self._changed:
            while not self._is_second:
                left = self._first_time + SECOND_SECONDS - clock.now()
                if self._first != signal.SIGINT or left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _listen(self) -> None:
        while heard := os.read(self._pipe[0], 1):
            if heard[0] not in _HEARD:
                continue
            with self._changed:
                is_first = self._first is None
                if is_first:
                    self._first, self._first_time = heard[0], clock.now()
                elif heard[0] == signal.SIGINT:
                    in_time = clock.now() - self._first_time <= SECOND_SECONDS
                    self._is_second = self._is_second or in_time
                self._changed.notify_all()
            if is_first:
                self._on_first()


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Do nothing; without a handler the signal would end the process."""
    del number, frame
