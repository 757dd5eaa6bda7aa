"""The pair of sockets by which slot and program wake each other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from slurmtune.worker.bell import Bell, bell_pair, describe, inherited_bell


@pytest.fixture
def pair() -> Iterator[tuple[Bell, Bell]]:
    ours, descriptor = bell_pair()
    theirs = Bell(descriptor)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_ring_ends_the_wait(pair: tuple[Bell, Bell]) -> None:
    ours, theirs = pair

    ours.ring()

    assert theirs.wait(60)


def test_without_a_ring_the_wait_ends_with_its_time(pair: tuple[Bell, Bell]) -> None:
    assert not pair[0].wait(0.001)


def test_many_rings_are_one(pair: tuple[Bell, Bell]) -> None:
    ours, theirs = pair
    for _ in range(3):
        theirs.ring()

    assert ours.has_rung()
    assert not ours.has_rung()


def test_who_rings_never_waits(pair: tuple[Bell, Bell]) -> None:
    ours, theirs = pair
    for _ in range(100_000):
        ours.ring()

    assert theirs.has_rung()


def test_the_end_of_the_other_side_is_no_ring(pair: tuple[Bell, Bell]) -> None:
    ours, theirs = pair

    theirs.close()

    assert not ours.wait(60)
    assert not ours.is_hung
    ours.ring()
    assert not ours.has_rung()
    assert not ours.wait(60)


def test_a_program_gets_it_by_its_name() -> None:
    ours, descriptor = bell_pair()
    code = (
        "import sys; from slurmtune.worker.bell import inherited_bell\n"
        "bell = inherited_bell(sys.argv[1]); bell.wait(60); bell.ring()"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, describe(descriptor)], pass_fds=[descriptor]
    )
    os.close(descriptor)

    ours.ring()

    assert ours.wait(60)
    assert program.wait(60) == 0
    ours.close()


def test_a_wrapper_may_have_closed_it(pair: tuple[Bell, Bell]) -> None:
    theirs = pair[1]
    assert theirs.descriptor is not None
    text = describe(theirs.descriptor)

    theirs.close()

    assert inherited_bell(text) is None


def test_something_else_with_its_number_is_not_rung(pair: tuple[Bell, Bell]) -> None:
    ours, theirs = pair
    assert ours.descriptor is not None
    assert theirs.descriptor is not None
    inode = describe(theirs.descriptor).partition(":")[2]

    assert inherited_bell(f"{ours.descriptor}:{inode}") is None


def test_a_program_may_close_what_it_does_not_know(pair: tuple[Bell, Bell]) -> None:
    """As `os.closerange` does: its training must not end by that."""
    theirs = pair[1]
    assert theirs.descriptor is not None
    os.close(theirs.descriptor)

    theirs.ring()

    assert not theirs.wait(60)
    assert not theirs.is_hung


def test_what_got_its_number_is_left_alone(pair: tuple[Bell, Bell]) -> None:
    """Neither are bytes sent to it, nor taken from it, nor is it closed."""
    theirs = pair[1]
    number = theirs.descriptor
    assert number is not None
    one, other = socket.socketpair()
    os.dup2(one.fileno(), number)
    other.send(b"of the program")
    other.setblocking(False)

    theirs.ring()
    assert not theirs.wait(60)
    theirs.close()

    with pytest.raises(BlockingIOError):
        other.recv(1)
    assert one.recv(100) == b"of the program"
    os.close(number)
    one.close()
    other.close()


def test_too_many_open_files_keep_nobody_from_going_on(
    pair: tuple[Bell, Bell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", refused)

    pair[0].ring()

    assert pair[0].is_hung


@pytest.mark.parametrize("text", ["", ":", "3", "x:1", "-1:1", f"{10**30}:1", f"{2**31}:5"])
def test_a_text_that_names_none_is_none(text: str) -> None:
    assert inherited_bell(text) is None


DEADLY = """\
import os, signal, sys
from slurmtune.worker.bell import inherited_bell

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
bell = inherited_bell(sys.argv[1])
print(flush=True)
sys.stdin.read()
bell.ring()
print("lives")
"""


def test_a_program_for_which_a_broken_pipe_is_deadly_survives_the_end_of_its_slot() -> None:
    ours, descriptor = bell_pair()
    program = subprocess.Popen(
        [sys.executable, "-c", DEADLY, describe(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(descriptor)
    assert program.stdout is not None
    program.stdout.readline()

    ours.close()

    assert program.communicate("")[0] == "lives\n"
    assert program.returncode == 0
