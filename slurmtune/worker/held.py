"""Programs that outlive an attempt: they wait for more work on their trial, with all in memory.

Their attempt is over and its log is closed. What may follow is another attempt, with a claim and a
log of its own, in the same process; or the program is told to leave.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Mapping, NamedTuple, Optional, Sequence

from slurmtune.core import ids
from slurmtune.store import fs
from slurmtune.worker.aftermath import Aftermath
from slurmtune.worker.bell import Bell
from slurmtune.worker.environment import NO_MORE
from slurmtune.worker.metrics import Number
from slurmtune.worker.program import Program, ProgramEnd
from slurmtune.worker.signals import SignalInbox
from slurmtune.worker.task import Task


def linger_seconds(manifest: Mapping[str, Any]) -> float:
    """Return how long a slot waits for more work, with or without a program in it."""
    return float(manifest.get("linger_seconds") or 0)


def may_stay(manifest: Mapping[str, Any], task: Task) -> bool:
    """Tell whether the program of this task may wait for more work after its end.

    Not where nothing can follow; nor where its output is read, which belongs to one attempt.
    """
    top = manifest.get("top")
    return (
        task.end is not None
        and (top is None or task.end < top)
        and linger_seconds(manifest) > 0
        and bool(manifest.get("reuse", True))
        and bool(manifest.get("resume", True))
        and not manifest.get("parse")
    )


class Process(NamedTuple):
    """One run of the user's program, over all attempts that it serves."""

    program: Program
    argv: Sequence[str]
    output: int
    """Descriptor of the file that it prints to."""
    output_path: str
    bell: Optional[Bell] = None
    """None when the program will never wait, or cannot be woken."""

    def answer(self, path: str, content: bytes) -> None:
        """Put the answer where the program waits for it, and wake it.

        Raises:
            OSError: it could not be done.
        """
        fs.place_file(path, content)
        if self.bell is not None:
            self.bell.ring()

    def close(self) -> None:
        """Close what the slot has open for it."""
        if self.bell is not None:
            self.bell.close()
        with contextlib.suppress(OSError):
            os.close(self.output)


class Held(NamedTuple):
    """A program that did and saved what its attempt asked for, and waits for more."""

    process: Process
    attempt: str
    """The attempt that is over."""
    end: Number
    """What it was trained up to."""
    checkpoint: str
    """Name of what it saved there."""
    more: str
    """Path of the file that it waits for."""
    unit_seconds: float
    """What one unit of the resource took in the attempt."""
    seconds: float = 0.0
    """What the attempt took in all."""
    aftermath: Optional[Aftermath] = None
    """Keeps what the program still reports for the attempt."""

    @property
    def trial(self) -> int:
        """Number of its trial."""
        return ids.parse_attempt_id(self.attempt).trial

    @property
    def has_ended(self) -> bool:
        """Whether it waits no more."""
        return self.process.program.has_ended()

    def can_go_on(self, task: Task) -> bool:
        """Tell whether what it has in memory is just what the task starts from."""
        return (
            task.trial == self.trial
            and task.end is not None
            and task.end > self.end
            and task.start == self.end
            and task.checkpoint == self.checkpoint
        )

    def seconds_for(self, task: Task) -> float:
        """Return how long it will take for the task."""
        return 0.0 if task.end is None else self.unit_seconds * (task.end - self.end)


def release(
    held: Held,
    inbox: SignalInbox,
    *,
    grace_seconds: float,
    deadline: Optional[float],
    needed_seconds: float = 0.0,
) -> ProgramEnd:
    """Tell the program to leave, and return when it has; what it reported last is kept.

    It may test what it trained before it leaves: as long as its attempt took, and no less than
    ``grace_seconds``, until SIGTERM; ``grace_seconds`` more until SIGKILL. After a signal to the
    slot, or when it cannot be told, SIGTERM comes at once; at ``deadline``, a monotonic time,
    SIGKILL. ``needed_seconds`` before it are left to what the slot claimed meanwhile.
    """
    program = held.process.program
    now = time.monotonic()
    ask_at = now + max(grace_seconds, held.seconds)
    if deadline is not None:
        ask_at = min(ask_at, max(now + grace_seconds, deadline - needed_seconds - grace_seconds))
    try:
        held.process.answer(held.more, NO_MORE)
    except OSError:
        ask_at = time.monotonic()
    kill_at: Optional[float] = None
    is_killed = False
    while not program.has_ended():
        now = time.monotonic()
        if kill_at is None and (inbox.received or now >= ask_at):
            program.ask_to_leave()
            kill_at = now + grace_seconds
        times = [one for one in (kill_at, deadline) if one is not None]
        if times and now >= min(times) and not is_killed:
            is_killed = True
            program.kill()
        wake = min(one for one in (ask_at, *times, now + 1.0) if one > now)
        inbox.wait(wake - now)
    end = program.finish()
    if held.aftermath is not None:
        held.aftermath.keep()
    held.process.close()
    return end
