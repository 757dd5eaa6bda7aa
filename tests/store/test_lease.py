"""The lease: who drives the study, and whether that process lives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from slurmtune.store import lease
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lease import Lease


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    return layout


def test_there_is_none_before_the_first_driver(layout: StudyLayout) -> None:
    assert lease.read(layout) is None


def test_it_is_read_as_it_was_written(layout: StudyLayout) -> None:
    mine = Lease.of_this_process().beat(12.5)
    lease.write(layout, mine)

    assert lease.read(layout) == mine


def test_it_names_this_process() -> None:
    mine = Lease.of_this_process()

    assert (mine.host, mine.pid) == (socket.gethostname(), os.getpid())
    assert mine.process_start > 0
    assert mine.boot_id


def test_two_leases_of_one_process_differ() -> None:
    assert Lease.of_this_process().id != Lease.of_this_process().id


def test_a_beat_counts_and_keeps_the_rest() -> None:
    mine = Lease.of_this_process()
    later = mine.beat(5.0).beat(15.0, released=True)

    assert (later.counter, later.time, later.released) == (2, 15.0, True)
    assert (later.id, later.pid) == (mine.id, mine.pid)


def test_this_process_is_alive() -> None:
    assert Lease.of_this_process().is_alive_here


def test_a_process_that_ended_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = lease._process_start(child.pid)
    assert start is not None
    theirs = replace(Lease.of_this_process(), pid=child.pid, process_start=start)
    assert theirs.is_alive_here

    child.communicate(b"\n")

    assert not theirs.is_alive_here


def test_a_zombie_process_is_not_alive() -> None:
    """Killed, but its parent has not asked for its exit code."""
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    start = lease._process_start(child.pid)
    assert start is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    try:
        assert lease._process_start(child.pid) is None
    finally:
        child.communicate()


def test_a_later_process_of_the_same_number_is_another() -> None:
    assert not replace(Lease.of_this_process(), process_start=1).is_alive_here


def test_a_process_before_the_last_boot_is_not_here() -> None:
    theirs = replace(Lease.of_this_process(), boot_id="an earlier boot")

    assert not theirs.is_here
    assert not theirs.is_alive_here


def test_a_process_of_another_machine_is_not_here() -> None:
    theirs = replace(Lease.of_this_process(), host="another")

    assert not theirs.is_here
    assert not theirs.is_alive_here


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"id": "x"}', "\u00ff"])
def test_what_is_no_lease_is_none(layout: StudyLayout, text: str) -> None:
    Path(layout.lease).write_text(text)

    assert lease.read(layout) is None


def test_a_newer_slurmtune_may_say_more(layout: StudyLayout) -> None:
    """Its driver is alive all the same."""
    mine = Lease.of_this_process()
    Path(layout.lease).write_text(json.dumps({**asdict(mine), "mood": "good"}))

    assert lease.read(layout) == mine


def test_only_the_owner_may_read_it(layout: StudyLayout) -> None:
    lease.write(layout, Lease.of_this_process())

    assert Path(layout.lease).stat().st_mode & 0o777 == 0o600
