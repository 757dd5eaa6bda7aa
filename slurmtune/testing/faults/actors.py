"""Drivers as actors: only one runs at a time, and each may be stopped inside any call.

An actor is a thread that hands over to its stage and waits to be resumed, so that a driver can be
paused in the middle of a tick while another one takes over. Which actor runs is decided by the
stage alone: no run depends on the machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Killed(BaseException):
    """The process of the driver is gone: nothing of it may run on."""


class Actor:
    """A body of code that runs only while it is resumed."""

    def __init__(self, body: Callable[[], None]) -> None:
        self._body = body
        self._mine = threading.Semaphore(0)
        self._stage = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._dies = False
        self.due = 0.0
        """When it wants to be resumed, in virtual seconds."""
        self.is_over = False
        self.error: BaseException | None = None
        """What ended it, other than `Killed`."""

    def resume(self) -> None:
        """Let it run until it hands over or is over; called by the stage."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._mine.release()
        self._stage.acquire()

    def hand_over(self) -> None:
        """Stop here until the stage resumes this actor; called by the actor itself.

        Raises:
            Killed: the stage needs it no more.
        """
        self._stage.release()
        self._mine.acquire()
        if self._dies:
            raise Killed

    def kill(self) -> None:
        """End it where it stands; called by the stage."""
        if self._thread is not None and not self.is_over:
            self._dies = True
            self.resume()

    def _run(self) -> None:
        try:
            self._body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the stage
            self.error = error
        finally:
            self.is_over = True
            self._stage.release()
