"""One mistake in a spec, told with its place and its remedy, and how a list of them is written.

The form of each::

    error: unknown key 'metirc' in objective
      --> spec.toml:6:1 (objective.metirc)
       |
     6 | metirc = "val_loss"
       | ^^^^^^
       = did you mean 'metric'?
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from slurmtune.errors import SpecError
from slurmtune.spec.secret import masked

_WIDEST_LINE = 120


class Severity(Enum):
    """How much a problem matters."""

    ERROR = "error"
    """Nothing is submitted."""
    WARNING = "warning"
    """Most likely not what was meant; blocks only on request."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A mistake, or something worth knowing, at one place of one source."""

    code: str
    """Stable name, such as ``K1``; ``slurmtune explain`` tells more."""
    message: str
    severity: Severity = Severity.ERROR
    file: str = "spec.toml"
    """The file as the user named it, or ``command line`` for an override."""
    line: int = 1
    """From 1."""
    column: int = 1
    """From 1, in characters."""
    length: int = 0
    """Characters to underline; 0 when the problem concerns the file as a whole."""
    path: str = ""
    """Dotted path of the key, such as ``space.lr.default``."""
    fix: str = ""
    """How to mend it; may be empty."""
    source: str = ""
    """The line itself, for the picture."""
    blocks_launch: bool = False
    """Whether `launch` must refuse although `check` does not."""

    def as_json(self) -> dict[str, Any]:
        """Return the problem for editors and scripts."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": printable(self.message),
            "file": printable(self.file),
            "line": self.line,
            "column": self.column,
            "path": printable(self.path),
            "fix": printable(self.fix),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        where = printable(self.file) + (f":{self.line}:{self.column}" if self.length else "")
        dotted = f" ({printable(self.path)})" if self.path else ""
        number = str(self.line) if self.length else ""
        margin = " " * (len(number) + 1)
        lines = [
            f"{self.severity.value}: {printable(self.message)}",
            f"{margin}--> {where}{dotted}",
        ]
        if self.length:
            source = masked(self.source) if self.path.startswith("env") else self.source
            shown, carets = _picture(source, self.column, self.length)
            lines += [f"{margin} |", f" {number} | {shown}".rstrip(), f"{margin} | {carets}"]
        if self.fix:
            lines.append(f"{margin} = {printable(self.fix)}")
        return lines


class SpecErrors(SpecError):
    """The spec has errors; ``problems`` holds all of them, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(report(problems))
        self.problems = tuple(problems)


def errors_among(problems: Iterable[Problem]) -> list[Problem]:
    """Return those that are errors."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def report(problems: Sequence[Problem]) -> str:
    """Return all problems as text, with a last line that counts the errors."""
    parts = [str(problem) for problem in problems]
    parts.append(summary(problems))
    return "\n\n".join(parts)


def summary(problems: Sequence[Problem]) -> str:
    """Return the last line: how many problems there are, and that nothing was submitted."""
    counts = [
        (sum(problem.severity is severity for problem in problems), severity.value)
        for severity in Severity
    ]
    told = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n]
    return f"{', '.join(told) or 'no problems'}; nothing was submitted."


def printable(text: str) -> str:
    """Return ``text`` with everything that could steer a terminal written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_harmless(c) else _escape(c) for c in text)


def _is_harmless(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in "CZ"


def _escape(character: str) -> str:
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    code = ord(character)
    return known.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _picture(line: str, column: int, length: int) -> tuple[str, str]:
    """Return the line and the carets below the place, cut so that both fit."""
    start = min(max(column - 1, 0), len(line))
    stop = min(start + length, len(line))
    first = 0
    if stop > _WIDEST_LINE:
        first = max(0, start - 20)
    last = first + _WIDEST_LINE
    before = ("..." if first else "") + _one_width(line[first:start])
    marked = _one_width(line[start : min(stop, last)])
    after = _one_width(line[stop:last]) + ("..." if len(line) > last else "")
    carets = " " * _columns(before) + "^" * max(1, _columns(marked))
    return before + marked + after, carets


def _one_width(text: str) -> str:
    return printable(text.replace("\t", " "))


def _columns(text: str) -> int:
    """Return how many columns a terminal uses for ``text``."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
