"""Signals of the job: in the slot they wake a wait, in the user's program they set a flag.

Handlers only note what came; nothing is decided inside one.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from types import FrameType
from typing import Any, Dict, List, Optional, Sequence

WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
"""What ``--signal`` sends some time before the limit."""
STOPS = (*WARNINGS, signal.SIGTERM, signal.SIGINT)
"""What makes a slot save and leave. SIGCONT, which Slurm sends along, is left alone."""


class SignalInbox:
    """Collects the signals that a slot gets, and ends a wait at once when one comes.

    SIGCHLD wakes too: the end of a program is seen without polling. Use it as a context; handlers
    are put back at the end. Main thread only.
    """

    def __init__(self) -> None:
        self.received: List[int] = []
        """Numbers of the stop signals so far, oldest first."""
        self._read_end, self._write_end = os.pipe()
        self._previous: Dict[int, Any] = {}
        self._previous_wakeup = -1

    def __enter__(self) -> SignalInbox:  # noqa: PYI034 - Self came with Python 3.11
        for descriptor in (self._read_end, self._write_end):
            os.set_blocking(descriptor, False)
        for number in STOPS:
            self._previous[number] = signal.signal(number, self._note)
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _do_nothing)
        self._previous_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            # None: the handler was not set from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(self._read_end)
        os.close(self._write_end)

    def wait(self, seconds: float, also: Sequence[int] = ()) -> List[int]:
        """Return after ``seconds``, a signal, or when a descriptor of ``also`` can be read.

        The readable descriptors of ``also`` are returned. A signal that came before the call ends
        it at once, unless an earlier wait was ended by it.
        """
        poller = select.poll()
        for descriptor in (self._read_end, *also):
            poller.register(descriptor, select.POLLIN | select.POLLHUP)
        ready = [found for found, _ in poller.poll(max(0.0, seconds) * 1000)]
        if self._read_end in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_end, 4096)
        return [found for found in ready if found != self._read_end]

    def _note(self, number: int, _frame: Optional[FrameType]) -> None:
        self.received.append(number)


class StopFlag:
    """True from the first warning on; lives in the user's program."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        """Set the flag on SIGUSR1, SIGUSR2 and SIGTERM; handlers of others are still called.

        Signals can be handled in the main thread only; elsewhere this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (*WARNINGS, signal.SIGTERM):
            self._install_one(number)

    def _install_one(self, number: signal.Signals) -> None:
        previous = signal.getsignal(number)

        def handler(received: int, frame: Optional[FrameType]) -> None:
            self.is_set = True
            if callable(previous) and previous is not signal.default_int_handler:
                previous(received, frame)

        signal.signal(number, handler)


def _do_nothing(_number: int, _frame: Optional[FrameType]) -> None:
    """Handle SIGCHLD: without a handler nothing would be written to the wake-up pipe."""
