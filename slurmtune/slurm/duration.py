"""Slurm's spelling of time limits and memory sizes.

Times: minutes, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` or ``D-H:M:S`` (sbatch(1), ``--time``).
Memory: a whole number with ``K``, ``M``, ``G`` or ``T``; without a letter it counts MiB.
"""

from __future__ import annotations

import re

from slurmtune.errors import SpecError

_PLAIN = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")
_MEMORY = re.compile(r"(\d+)(?:([KMGT])(?:i?B)?)?", re.IGNORECASE)
_UNLIMITED = frozenset({"unlimited", "infinite"})
_DAY_SECONDS = 86_400
_KIB = {"K": 1, "M": 1024, "G": 1024**2, "T": 1024**3}


def parse_time(text: str) -> int | None:
    """Return a time limit in seconds; None for ``UNLIMITED``.

    Raises:
        SpecError: Slurm would not take it for a time.
    """
    text = text.strip()
    if text.lower() in _UNLIMITED:
        return None
    if found := _DAYS.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return days * _DAY_SECONDS + hours * 3600 + minutes * 60 + seconds
    if found := _PLAIN.fullmatch(text):
        first, second, third = found.groups()
        if third is not None:
            return int(first) * 3600 + int(second) * 60 + int(third)
        return int(first) * 60 + int(second or 0)
    raise SpecError(
        f"{text!r} is not a Slurm time; write minutes, H:M:S or D-H:M:S, such as 04:00:00"
    )


def format_time(seconds: float) -> str:
    """Return a duration as ``[D-]HH:MM:SS``, rounded up to whole seconds."""
    whole = -int(-seconds // 1)
    days, rest = divmod(whole, _DAY_SECONDS)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def time_in_minutes(seconds: float) -> int:
    """Return a time limit in whole minutes, rounded up and at least one, as Slurm counts it."""
    return max(1, -int(-seconds // 60))


def parse_memory(text: str) -> int:
    """Return a memory size in KiB.

    Raises:
        SpecError: Slurm would not take it for a memory size.
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise SpecError(f"{text!r} is not a Slurm memory size; write it like 32G or 500M")
    return int(found[1]) * _KIB[(found[2] or "M").upper()]


def format_memory(kib: float) -> str:
    """Return a memory size, rounded up, in the largest unit that says it exactly: ``48G``."""
    whole = max(1, -int(-kib // 1))
    for letter in ("T", "G", "M"):
        if whole % _KIB[letter] == 0:
            return f"{whole // _KIB[letter]}{letter}"
    return f"{whole}K" if whole < _KIB["M"] else f"{-(-whole // _KIB['M'])}M"
