"""What the log of a slot says about its end: all that is left when nobody there could say it.

The worker, the setup lines and Slurm itself write there; programs have files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LONGEST = 300
_MEMORY = re.compile(
    r"oom[-_ ]?kill|exceeded (?:job |step )?memory limit|out[- ]of[- ]memory", re.IGNORECASE
)
_TELLING = re.compile(r"(?:slurmtune|error|bash|\S*/slurm_script|python\S*): |\w*Error: ")
"""Lines of the worker, of a setup line or of Python; Slurm's own only repeat the exit code."""


def tells_of_memory(lines: Sequence[str]) -> bool:
    """Tell whether Slurm wrote that the slot had more memory than it asked for."""
    return any(_MEMORY.search(line) for line in lines)


def last_words(lines: Sequence[str]) -> str:
    """Return the last line that tells why the slot ended; empty when there is none."""
    clean = ["".join(c for c in line if c.isprintable()).strip() for line in lines]
    telling = [line for line in clean if _TELLING.match(line)]
    return (telling or [line for line in clean if line] or [""])[-1][:_LONGEST]
