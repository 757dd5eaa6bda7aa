"""Signals wake a wait at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

from slurmtune.worker.signals import SignalInbox, StopFlag


def test_signals_are_collected_in_order() -> None:
    with SignalInbox() as inbox:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)

        assert inbox.received == [signal.SIGUSR1, signal.SIGTERM]


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalInbox():
        pass

    assert signal.getsignal(signal.SIGTERM) is before


def test_signal_before_the_wait_ends_it() -> None:
    with SignalInbox() as inbox:
        os.kill(os.getpid(), signal.SIGUSR2)
        started = time.monotonic()
        inbox.wait(5)

    assert time.monotonic() - started < 1


def test_end_of_a_program_ends_a_wait() -> None:
    with SignalInbox() as inbox, subprocess.Popen(["true"]) as process:
        started = time.monotonic()
        inbox.wait(5)
        process.wait()

    assert time.monotonic() - started < 1
    assert inbox.received == []


def test_readable_descriptor_is_returned() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with SignalInbox() as inbox:
        assert inbox.wait(5, [reader]) == [reader]
    os.close(reader)
    os.close(writer)


def test_wait_ends_by_itself() -> None:
    with SignalInbox() as inbox:
        assert inbox.wait(0.01) == []


def test_flag_is_left_alone_outside_of_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopFlag().install)
    thread.start()
    thread.join()

    assert signal.getsignal(signal.SIGTERM) is before
