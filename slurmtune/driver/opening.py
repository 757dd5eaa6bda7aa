"""Becoming the driver of a study: wait for a dead one, claim the epoch, replay the journal."""

from __future__ import annotations

from typing import NamedTuple

from slurmtune.backends.base import Clock
from slurmtune.core.study import Study
from slurmtune.driver.recovery import replay
from slurmtune.errors import DriverBusyError
from slurmtune.store import lease
from slurmtune.store.journal import Journal
from slurmtune.store.layout import StudyLayout


class Opened(NamedTuple):
    """A study that this process drives now."""

    journal: Journal
    lease: lease.Lease
    first_time: float | None
    """When the study was opened first; None when this is the first time."""


def open_study(
    layout: StudyLayout, study: Study, clock: Clock, *, takeover: bool = False
) -> Opened:
    """Become the driver and bring ``study`` to where its journal ends.

    ``takeover`` replaces a driver that seems alive; its later writes are ignored.

    Raises:
        DriverBusyError: another driver is alive.
        ReplayError, CorruptJournalError, NewerFormatError: the journal cannot be continued.
    """
    if not takeover:
        _wait_for_quiet(layout, clock)
    mine = lease.Lease.of_this_process()
    journal, records = Journal.open(
        layout, {"id": mine.id, "host": mine.host, "pid": mine.pid, "time": clock.now()}
    )
    # Others leave a study alone that is being replayed, which may take a while.
    mine = mine.beat(clock.now())
    lease.write(layout, mine)
    try:
        return Opened(journal, mine, replay(study, records))
    except BaseException:
        lease.write(layout, mine.beat(clock.now(), released=True))
        journal.close()
        raise


def is_driven(layout: StudyLayout) -> bool:
    """Tell, without waiting, whether a driver seems to be alive."""
    found = lease.read(layout)
    if found is None or found.released:
        return False
    return found.is_alive_here if found.is_here else True


def _wait_for_quiet(layout: StudyLayout, clock: Clock) -> None:
    """Return when nobody drives the study.

    Raises:
        DriverBusyError: the lease belongs to a living driver.
    """
    found = lease.read(layout)
    if found is None or found.released or (found.is_here and not found.is_alive_here):
        return
    if found.is_here:
        raise _busy(layout, found, clock.now())
    # A driver on another machine: only a change that this machine sees proves that it lives.
    waited = 0.0
    while waited < lease.PATIENCE_SECONDS:
        clock.wait(1.0)
        waited += 1.0
        again = lease.read(layout)
        if again is None or again.released:
            return
        if (again.id, again.counter) != (found.id, found.counter):
            raise _busy(layout, again, clock.now())


def _busy(layout: StudyLayout, found: lease.Lease, now: float) -> DriverBusyError:
    ago = max(0, round(now - found.time))
    return DriverBusyError(
        f"{layout.root} is already driven by pid {found.pid} on {found.host} (beat {ago} s ago)"
    )
