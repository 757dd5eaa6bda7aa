"""Becoming the driver: who is left alone, who is waited for, who is replaced."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.events import Limits, StudyOpened
from slurmtune.core.study import Study
from slurmtune.driver.opening import Opened, is_driven, open_study
from slurmtune.driver.recovery import record_of
from slurmtune.errors import DriverBusyError, DriverFencedError, ReplayError
from slurmtune.store import lease
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lease import Lease
from slurmtune.testing.study_rig import StudyRig

OPENED = record_of(StudyOpened(time=7.0, spec_sha256="x", limits=Limits(trials=3)), ())


class Waiting:
    """A clock whose waits cost nothing; something may happen at one of them."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waited = 0.0
        self.then: dict[float, Callable[[], None]] = {}

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds
        self.waited += seconds
        if (happening := self.then.pop(self.waited, None)) is not None:
            happening()


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    return layout


@pytest.fixture
def clock() -> Waiting:
    return Waiting()


@pytest.fixture
def start(layout: StudyLayout, clock: Waiting) -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def start(**options: Any) -> Opened:
        opened.append(open_study(layout, study(), clock, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.journal.close()


def study() -> Study:
    return StudyRig(trials=3, slots=1).empty_study()


def here(**changes: Any) -> Lease:
    return replace(Lease.of_this_process().beat(990.0), **changes)


def elsewhere(**changes: Any) -> Lease:
    return here(host="login2", boot_id="another", pid=4711, **changes)


# ------------------------------------------------------------------ on this machine


def test_the_first_driver_of_a_study_need_not_wait(
    start: Callable[..., Opened], clock: Waiting
) -> None:
    opened = start()

    assert (opened.journal.epoch, opened.first_time) == (1, None)
    assert clock.waited == 0


def test_a_driver_that_lives_on_this_machine_is_left_alone(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    lease.write(layout, here())

    with pytest.raises(DriverBusyError) as caught:
        start()

    assert str(caught.value) == (
        f"{layout.root} is already driven by pid {os.getpid()} on {socket.gethostname()} "
        "(beat 10 s ago)"
    )
    assert clock.waited == 0
    assert not list(Path(layout.journal).glob("*.claim"))


def test_a_driver_that_died_on_this_machine_is_replaced_at_once(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    lease.write(layout, here(process_start=1))

    assert start().journal.epoch == 1
    assert clock.waited == 0


def test_a_driver_that_left_on_purpose_is_replaced_at_once(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    lease.write(layout, elsewhere().beat(990.0, released=True))

    assert start().journal.epoch == 1
    assert clock.waited == 0


# ------------------------------------------------------------------ on another machine


def test_a_lease_of_another_machine_that_never_changes_is_taken_after_a_while(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    lease.write(layout, elsewhere())

    assert start().journal.epoch == 1
    assert clock.waited == lease.PATIENCE_SECONDS


def test_a_beat_of_another_machine_proves_that_its_driver_lives(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    theirs = elsewhere()
    lease.write(layout, theirs)
    clock.then[9.0] = lambda: lease.write(layout, theirs.beat(999.0))

    with pytest.raises(DriverBusyError, match="pid 4711 on login2"):
        start()

    assert clock.waited == 9.0


def test_a_beat_at_the_last_moment_counts(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    theirs = elsewhere()
    lease.write(layout, theirs)
    clock.then[lease.PATIENCE_SECONDS] = lambda: lease.write(layout, theirs.beat(0.0))

    with pytest.raises(DriverBusyError):
        start()


def test_the_time_in_a_lease_is_not_believed(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    """Clocks of two machines differ."""
    lease.write(layout, elsewhere().beat(9e9))

    assert start().journal.epoch == 1


def test_a_driver_that_leaves_while_it_is_watched_is_replaced_at_once(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    theirs = elsewhere()
    lease.write(layout, theirs)
    clock.then[3.0] = lambda: lease.write(layout, theirs.beat(999.0, released=True))

    assert start().journal.epoch == 1
    assert clock.waited == 3.0


def test_another_driver_that_came_first_is_left_alone(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    """Two that wait for the same dead driver: one of them wins."""
    lease.write(layout, elsewhere())
    clock.then[59.0] = lambda: lease.write(layout, replace(elsewhere(), id="other", host="login3"))

    with pytest.raises(DriverBusyError, match="login3"):
        start()


# ------------------------------------------------------------------ taking over


def test_a_takeover_asks_nobody_and_ends_the_old_driver(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    first = start()
    first.journal.append([OPENED])

    second = start(takeover=True)

    assert (second.journal.epoch, second.first_time) == (2, 7.0)
    assert clock.waited == 0
    with pytest.raises(DriverFencedError):
        first.journal.check_owner()


def test_the_study_is_where_its_journal_ends(
    layout: StudyLayout, start: Callable[..., Opened], clock: Waiting
) -> None:
    start().journal.append([OPENED])
    again = study()

    opened = open_study(layout, again, clock, takeover=True)
    opened.journal.close()

    assert again.limits == Limits(trials=3)
    assert opened.first_time == 7.0


def test_a_driver_holds_its_lease_before_it_replays(
    layout: StudyLayout, start: Callable[..., Opened]
) -> None:
    """A second one must not slip in while the first reads a long journal."""
    opened = start()

    found = lease.read(layout)
    assert found is not None
    assert found.id == opened.lease.id
    with pytest.raises(DriverBusyError):
        start()


def test_a_journal_that_cannot_be_continued_releases_the_lease(
    layout: StudyLayout, start: Callable[..., Opened]
) -> None:
    start().journal.append([{**OPENED, "a": ["Finish done"]}])

    with pytest.raises(ReplayError, match="Finish done"):
        start(takeover=True)

    found = lease.read(layout)
    assert found is not None
    assert found.released


# ------------------------------------------------------------------ looking only


def test_looking_does_not_wait(layout: StudyLayout, clock: Waiting) -> None:
    assert not is_driven(layout)
    lease.write(layout, here())
    assert is_driven(layout)
    lease.write(layout, here(process_start=1))
    assert not is_driven(layout)
    lease.write(layout, elsewhere())
    assert is_driven(layout)
    lease.write(layout, elsewhere().beat(1.0, released=True))
    assert not is_driven(layout)
