"""Numbers, durations, times and tables as people read them: text in, text out."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

WIDTH = 80
"""Columns of a terminal that nobody told us more about."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def plural(count: float, word: str) -> str:
    """Return ``1 trial``, ``2 trials``."""
    return f"{count} {word}" if count == 1 else f"{count} {many(word)}"


def many(word: str) -> str:
    """Return the plural of a word; a resource may be called anything."""
    if not word or not word[-1].isalpha() or word.endswith("s"):
        return word
    if word.endswith(("ch", "sh", "x")) and not word.endswith("epoch"):
        return word + "es"
    return word + "s"


def metric(value: float | None) -> str:
    """Return a result with four significant digits, trailing zeros kept: ``0.6120``."""
    if value is None:
        return "-"
    return f"{value:#.4g}".rstrip(".") if math.isfinite(value) else str(float(value))


def value(item: Any) -> str:
    """Return the value of a hyperparameter, numbers with four significant digits."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        return f"{item:.4g}"
    return "-" if item is None else printable(str(item))


def resource(amount: float | None) -> str:
    """Return an amount of a resource with all its digits: ``27``, ``0.5``, ``-`` for none."""
    if amount is None:
        return "-"
    return str(amount) if isinstance(amount, int) else f"{amount:.12g}"


def of_resource(amount: float, word: str) -> str:
    """Return ``1 epoch``, ``0.5 epochs``, ``27 epochs``."""
    return f"{resource(amount)} {word if amount == 1 else many(word)}"


def duration(seconds: float) -> str:
    """Return ``42 s``, ``7 min 27 s``, ``3 h 10 min`` or ``2 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole // _MINUTE, "min", whole % _MINUTE, "s")
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def stopwatch(seconds: float) -> str:
    """Return ``0:42``, ``7:02`` or ``2:14:05``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_limit(seconds: int | None) -> str:
    """Return a time limit as Slurm shows it: ``0:30:00``, ``1-04:00:00``."""
    if seconds is None:
        return "none"
    days, rest = divmod(seconds, _DAY)
    clock = f"{rest // _HOUR}:{rest // _MINUTE % 60:02d}:{rest % _MINUTE:02d}"
    return f"{days}-{clock.zfill(8)}" if days else clock


def about(when: float, now: float) -> str:
    """Return a coming time: ``14:05`` today, else with its date; with the zone when far away."""
    then = datetime.fromtimestamp(when).astimezone()
    if abs(when - now) < 12 * _HOUR:
        return f"{then:%H:%M}"
    return f"{then:%Y-%m-%d %H:%M %Z}"


def clock(when: float) -> str:
    """Return the local time of day: ``12:00:04``."""
    return f"{datetime.fromtimestamp(when).astimezone():%H:%M:%S}"


def iso_local(when: float) -> str:
    """Return the local time with its zone, for logs."""
    return datetime.fromtimestamp(when).astimezone().isoformat(timespec="seconds")


def iso_utc(when: float | None) -> str | None:
    """Return the time in UTC, for JSON."""
    if when is None:
        return None
    text = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")


def ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``13th``."""
    if number % 100 in {11, 12, 13}:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def params(config: Mapping[str, Any]) -> str:
    """Return a config on one line: ``lr 0.00212  dropout 0.11``."""
    return "  ".join(f"{name} {value(item)}" for name, item in config.items())


def short_path(path: str, folder: str | None = None) -> str:
    """Return the path as seen from ``folder`` (the current one), if that is shorter."""
    try:
        relative = os.path.relpath(path, folder)
    except (OSError, ValueError):
        return path
    return relative if len(relative) < len(path) and not relative.startswith("../../..") else path


def cut(line: str, width: int) -> str:
    """Return the line, shortened with ``...`` when it is wider than ``width``."""
    return line if len(line) <= width else line[: max(0, width - 3)] + "..."


def table(rows: Sequence[Sequence[str]], align: str, *, indent: str = "", gap: str = "  ") -> str:
    """Return the rows as columns; ``align`` holds ``<`` or ``>`` for each column."""
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(align))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if side == ">" else cell.ljust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        ]
        lines.append((indent + gap.join(cells)).rstrip())
    return "\n".join(lines)


def wrap(words: str, *, first: str, rest: str, width: int = WIDTH) -> str:
    """Return ``words`` in lines of ``width``, the first behind ``first``, others behind ``rest``.

    A word that is longer than a line (a path) is not broken: it could not be copied.
    """
    lines: list[str] = []
    line = first
    empty = True
    for word in words.split(" "):
        if not empty and len(line) + 1 + len(word) > width:
            lines.append(line)
            line, empty = rest, True
        line += word if empty else f" {word}"
        empty = False
    return "\n".join([*lines, line])


def printable(text: str) -> str:
    """Return ``text`` without anything that could steer a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if c in "\t\n\r" else c if is_harmless(c) else "?" for c in text)


def finite(data: Any) -> Any:
    """Return JSON data with numbers that JSON does not know as None."""
    if isinstance(data, Mapping):
        return {str(key): finite(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def joined(items: Iterable[str], last: str = "and") -> str:
    """Return ``a, b and c``."""
    words = list(items)
    return " ".join([", ".join(words[:-1]), last, words[-1]]) if len(words) > 1 else "".join(words)


def is_harmless(character: str) -> bool:
    """Tell whether a character is a letter, a sign or a space, and steers nothing."""
    return character == " " or unicodedata.category(character)[0] not in "CZ"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")
