"""The lease: a living driver rewrites it every few seconds, so that others leave it alone.

It is politeness only. What keeps two drivers apart is the epoch of the journal; the lease spares
a user from replacing a driver that is alive. A contender on the same machine asks the kernel; one
on another machine watches for a change by its own clock, since clocks of two machines differ.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, fields, replace

from slurmtune.store import fs
from slurmtune.store.layout import PRIVATE_FILE, StudyLayout

PATIENCE_SECONDS = 60.0
"""A lease from another machine that does not change for so long belongs to a dead driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who drives the study."""

    id: str
    host: str
    pid: int
    boot_id: str
    process_start: int
    """Start of the process in clock ticks since boot: tells it from a later one of that pid."""
    counter: int = 0
    time: float = 0.0
    """By the driver's clock; for people."""
    released: bool = False
    """Whether the driver ended on purpose."""

    @classmethod
    def of_this_process(cls) -> Lease:
        """Return a new lease for this process."""
        return cls(
            id=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=_boot_id(),
            process_start=_process_start(os.getpid()) or 0,
        )

    def beat(self, now: float, *, released: bool = False) -> Lease:
        """Return the lease as of ``now``."""
        return replace(self, counter=self.counter + 1, time=now, released=released)

    @property
    def is_here(self) -> bool:
        """Whether its driver was started on this machine since it booted."""
        return self.host == socket.gethostname() and self.boot_id == _boot_id()

    @property
    def is_alive_here(self) -> bool:
        """Whether its process lives on this machine."""
        return self.is_here and _process_start(self.pid) == self.process_start


_LATEST = 4_102_444_800.0
"""The year 2100, in seconds since 1970: a later time is none."""
_NAMES = tuple(field.name for field in fields(Lease))


def write(layout: StudyLayout, lease: Lease, mode: int = PRIVATE_FILE) -> None:
    """Publish the lease."""
    fs.publish_file(layout.lease, json.dumps(asdict(lease)).encode(), mode)


def read(layout: StudyLayout) -> Lease | None:
    """Return the lease, or None when there is none that can be read."""
    try:
        found = json.loads(fs.read_file(layout.lease))
        # A newer slurmtune may say more; its driver is alive all the same.
        lease = Lease(**{name: found[name] for name in _NAMES if name in found})
        return lease if _is_sound(lease) else None
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None


def _is_sound(lease: Lease) -> bool:
    """Tell whether the fields are what they should be: anything may stand in the file."""
    numbers = (lease.pid, lease.process_start, lease.counter)
    return (
        all(isinstance(text, str) for text in (lease.id, lease.host, lease.boot_id))
        and all(type(number) is int and abs(number) < 2**63 for number in numbers)
        and type(lease.time) in (int, float)
        and 0 <= lease.time <= _LATEST
        and type(lease.released) is bool
    )


def _boot_id() -> str:
    try:
        return fs.read_file("/proc/sys/kernel/random/boot_id").decode().strip()
    except OSError:
        return ""


def _process_start(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat, or None when there is no such living process."""
    try:
        text = fs.read_file(f"/proc/{pid}/stat").decode("utf-8", "replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(rest[18])
