"""A bell between a slot and its program: "look at the files now", and never what they say.

Files are what counts between the two; whoever waits for one would ask the file system again and
again, or late. Where both run on one machine a pair of sockets wakes them at once. Nothing rests
on it: a program that does not get the socket (a container, another node) looks at files by itself.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from typing import Optional

_RING = b"!"
_READ_BYTES = 4096


class Bell:
    """One end of the pair.

    A program may close what it does not know, and get something else under the same number: that
    is neither rung, nor read, nor closed.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor: Optional[int] = descriptor
        """To wait for; None when nobody is at the other end."""
        self._identity = _identity(descriptor)

    @property
    def is_hung(self) -> bool:
        """Whether there may be somebody at the other end."""
        return self.descriptor is not None

    def ring(self) -> None:
        """Wake the other side, or whoever waits there next."""
        descriptor = self._still_open()
        if descriptor is not None:
            import socket

            # Gone, or it has not heard thousands of rings: then it hears those; or there are too
            # many open files. Never by a signal: programs may have given SIGPIPE its deadly
            # default back.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
                end.send(_RING, socket.MSG_NOSIGNAL)

    def has_rung(self) -> bool:
        """Tell whether the other side rang since the last call."""
        descriptor = self._still_open()
        if descriptor is None:
            return False
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
        return bool(data)

    def wait(self, seconds: float) -> bool:
        """Return when the other side rings, or has gone, or after so many seconds.

        Tells whether it rang.
        """
        descriptor = self._still_open()
        if descriptor is None:
            return False
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(seconds * 1000):
            return False
        return self.has_rung()

    def close(self) -> None:
        """Hear nothing more; a second call does nothing."""
        descriptor, self.descriptor = self._still_open(), None
        if descriptor is not None:
            os.close(descriptor)

    def _still_open(self) -> Optional[int]:
        """Return the descriptor if it is still that of the socket; if not, forget it."""
        if self.descriptor is not None and _identity(self.descriptor) != self._identity:
            self.descriptor = None
        return self.descriptor


def bell_pair() -> "tuple[Bell, int]":
    """Return the slot's end, and the descriptor that a program may inherit.

    Raises:
        OSError: there are too many open files.
    """
    import socket

    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    return Bell(ours.detach()), theirs.detach()


def _identity(descriptor: int) -> "Optional[tuple[int, int]]":
    """Return what tells the open file from all others; None when there is none."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def describe(descriptor: int) -> str:
    """Return the text by which a program recognises the descriptor: its number and its inode."""
    return f"{descriptor}:{os.fstat(descriptor).st_ino}"


def inherited_bell(text: str) -> Optional[Bell]:
    """Return the program's end; None when this process did not get it.

    A wrapper may have closed it, and something else may have its number now: the inode tells.
    """
    number, _, inode = text.partition(":")
    if not (number.isdigit() and inode.isdigit()):
        return None
    try:
        found = os.fstat(int(number))
    except (OSError, OverflowError):
        return None
    is_ours = stat.S_ISSOCK(found.st_mode) and found.st_ino == int(inode)
    return Bell(int(number)) if is_ours else None
