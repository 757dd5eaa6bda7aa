"""What goes to the terminal: colour only where somebody sees it, JSON, questions, one live line.

Results go to stdout; warnings and errors to stderr. Only this package prints, and everything that
it prints goes through `plain` or `_escaped_json`: names, causes and hosts were written by others.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from slurmtune.cli.text import WIDTH, cut, finite, is_harmless
from slurmtune.errors import UsageError

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "accent": "36", "bold": "1", "dim": "2"}
_MARKED = re.compile(r"^(error|warning|note)(?=:)", re.MULTILINE)
_MARKS = {"error": "red", "warning": "yellow", "note": "accent"}
_PAINT = re.compile(r"(\x1b\[(?:0|1|2|31|32|33|36)m)")
"""What `paint` writes, and nothing else that steers a terminal."""


def has_colour(stream: TextIO) -> bool:
    """Tell whether colour may be written: NO_COLOR, FORCE_COLOR and TERM are obeyed."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def is_terminal(stream: TextIO) -> bool:
    """Tell whether somebody sits before it."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Return the text in colour where ``stream`` (stdout) shows it."""
    if not text or not has_colour(stream or sys.stdout):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def plain(text: str, stream: TextIO | None = None) -> str:
    """Return lines of text without anything that could steer a terminal, but our own colours."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    if not has_colour(stream or sys.stdout):
        return _stripped(text)
    parts = _PAINT.split(text)
    return "".join(part if index % 2 else _stripped(part) for index, part in enumerate(parts))


def _stripped(text: str) -> str:
    text = text.replace("\t", "    ")
    return "".join(c if c == "\n" or is_harmless(c) else "?" for c in text)


def columns() -> int:
    """Return the width of the terminal; 80 when there is none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def say(text: str = "") -> None:
    """Print a result."""
    say_exactly(plain(text))


def say_exactly(text: str) -> None:
    """Print a result that is made for a terminal, or for a program and not for one."""
    with quiet_pipe():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def say_json(data: Any) -> None:
    """Print data for programs: one document, numbers in full."""
    text = json.dumps(finite(data), allow_nan=False, ensure_ascii=False, default=str)
    say_exactly(_escaped_json(text))


def _escaped_json(text: str) -> str:
    """Return the same JSON with everything that could steer a terminal written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if is_harmless(c) else json.dumps(c)[1:-1] for c in text)


def complain(text: str) -> None:
    """Print errors and warnings that are marked as such already."""
    text = plain(text, sys.stderr)
    shown = _MARKED.sub(lambda found: paint(found[0], _MARKS[found[0]], sys.stderr), text)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(shown + "\n")
        sys.stderr.flush()


def error(text: str) -> None:
    """Print an error."""
    complain(f"error: {text}")


def warn(text: str) -> None:
    """Print a warning."""
    complain(f"warning: {text}")


def ask(question: str, *, yes: bool) -> bool:
    """Ask before something that cannot be undone; ``yes`` answers for the user.

    Raises:
        UsageError: nobody can be asked.
    """
    if yes:
        return True
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError(f"{question} Without a terminal this needs --yes")
    sys.stderr.write(f"{plain(question, sys.stderr)}  [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


class LiveLine:
    """Text that scrolls, and on a terminal one line below it that is written again and again.

    A terminal that went away is no reason to stop: what cannot be written is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_live = is_terminal(stream) and os.environ.get("TERM") != "dumb"
        self._line = ""

    def scroll(self, text: str) -> None:
        """Print text above the live line."""
        self._write(f"{self._erase()}{plain(text, self._stream)}\n{self._line}")

    def show(self, line: str) -> None:
        """Replace the live line; nothing happens without a terminal."""
        if self.is_live:
            erase = self._erase()
            self._line = cut(plain(line, self._stream).replace("\n", " "), columns() - 1)
            self._write(erase + self._line)

    def clear(self) -> None:
        """Take the live line away."""
        erase = self._erase()
        self._line = ""
        self._write(erase)

    def _erase(self) -> str:
        return "\r\x1b[2K" if self._line else ""

    def _write(self, text: str) -> None:
        if text:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
                self._stream.flush()


@contextlib.contextmanager
def quiet_pipe() -> Iterator[None]:
    """Let a reader that had enough (``head``) end us without a word.

    Raises:
        SystemExit: it had enough.
    """
    try:
        yield
    except BrokenPipeError:
        # The interpreter flushes once more at its end; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
