"""The live line, questions, and signals."""

from __future__ import annotations

import io
import os
import signal
import threading

import pytest

from slurmtune.cli import output
from slurmtune.cli.signals import SignalWatch
from slurmtune.errors import UsageError


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_events_scroll_above_the_live_line() -> None:
    terminal = Terminal()
    line = output.LiveLine(terminal)
    line.show("1 of 2")
    line.scroll("t00000 done")
    line.clear()

    assert terminal.getvalue() == "1 of 2\r\x1b[2Kt00000 done\n1 of 2\r\x1b[2K"


def test_the_live_line_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    terminal = Terminal()
    output.LiveLine(terminal).show("0123456789abc")

    assert terminal.getvalue() == "012345..."


def test_without_a_terminal_there_is_no_live_line() -> None:
    stream = io.StringIO()
    line = output.LiveLine(stream)
    line.show("1 of 2")
    line.scroll("event")

    assert stream.getvalue() == "event\n"


def test_a_terminal_that_went_away_is_no_error() -> None:
    terminal = Terminal()
    line = output.LiveLine(terminal)
    terminal.close()
    line.scroll("event")

    assert terminal.closed


def test_a_dumb_terminal_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    assert output.paint("a", "red", Terminal()) == "a"


def test_a_terminal_gets_colour() -> None:
    assert output.paint("a", "red", Terminal()) == "\x1b[31ma\x1b[0m"


def test_nobody_can_be_asked_without_a_terminal() -> None:
    with pytest.raises(UsageError, match="needs --yes"):
        output.ask("cancel?", yes=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_heard(number: signal.Signals) -> None:
    heard = threading.Event()
    with SignalWatch(heard.set) as watch:
        os.kill(os.getpid(), number)

        assert heard.wait(5.0)
        assert watch.first == number


def test_only_ctrl_c_is_waited_for_again() -> None:
    heard = threading.Event()
    with SignalWatch(heard.set) as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        heard.wait(5.0)

        assert not watch.wait_for_second()


def test_a_second_ctrl_c_is_told() -> None:
    heard = threading.Event()
    with SignalWatch(heard.set) as watch:
        os.kill(os.getpid(), signal.SIGINT)
        heard.wait(5.0)
        os.kill(os.getpid(), signal.SIGINT)

        assert watch.wait_for_second()


def test_ctrl_c_is_heard_although_a_shell_had_it_ignored() -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    heard = threading.Event()
    try:
        with SignalWatch(heard.set):
            os.kill(os.getpid(), signal.SIGINT)
            was_heard = heard.wait(5.0)
    finally:
        signal.signal(signal.SIGINT, old)

    assert was_heard


def test_nohup_is_obeyed() -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalWatch(lambda: None) as watch:
            os.kill(os.getpid(), signal.SIGHUP)
            first = watch.first
    finally:
        signal.signal(signal.SIGHUP, old)

    assert first is None


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalWatch(lambda: None):
        pass

    assert signal.getsignal(signal.SIGTERM) is before
