"""How an attempt ended: one pure function from everything that was seen.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import signal
from typing import Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from slurmtune.worker import cause

SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
TIMEOUT = "TIMEOUT"
PREEMPTED = "PREEMPTED"
OUT_OF_MEMORY = "OUT_OF_MEMORY"
CANCELLED = "CANCELLED"

NOT_INTERRUPTED = ""
BY_SIGNAL = "signal"
"""Slurm, or a user, told the slot to leave."""
BY_DEADLINE = "deadline"
"""The slot's time was up."""
BY_STOP = "stop"
"""The user asked to stop the trial."""

_KILLED_EXIT_CODE = 128 + signal.SIGKILL


class Seen(NamedTuple):
    """What is known when a program has ended."""

    exit_code: Optional[int]
    """None when a signal ended the program, or when it was never started."""
    signal: Optional[int]
    objectives: Sequence[str]
    reported: Sequence[str]
    """Names of all metrics that were reported."""
    reached: Optional[float]
    """Highest resource that was reported."""
    end: Optional[float]
    """Resource that was asked for; None when the study has no fidelity."""
    resource_name: str
    expressions: Mapping[str, str]
    """The expressions of ``parse``."""
    gave_up: Optional[str]
    """The program's own word why the config cannot work."""
    interrupted_by: str
    is_near_deadline: bool
    """Whether the interruption came about when the slot's time was up."""
    memory_was_hit: bool
    """Whether the kernel killed something in the job's memory group meanwhile."""
    tail: Sequence[str]
    """Last lines of the output."""

    @property
    def is_below_end(self) -> bool:
        """Whether the program has not reported the resource that was asked for."""
        return self.end is not None and (self.reached is None or self.reached < self.end)


def judge(seen: Seen) -> Tuple[str, str]:
    """Return the outcome and its likely cause in words.

    A program that was interrupted, saved and left by exit code 0 has not succeeded unless it
    reached the end.
    """
    missing = [name for name in seen.objectives if name not in seen.reported]
    left_well = seen.exit_code == 0
    if seen.gave_up is not None:
        return FAILED, seen.gave_up
    if seen.interrupted_by:
        if left_well and not missing and seen.end is not None and not seen.is_below_end:
            return SUCCEEDED, ""
        return _interruption(seen)
    if left_well and not missing:
        return SUCCEEDED, ""
    if left_well:
        unmatched = [seen.expressions[name] for name in missing if name in seen.expressions]
        return FAILED, cause.missing_metric(missing, seen.reported, unmatched)
    was_killed = seen.signal == signal.SIGKILL or seen.exit_code == _KILLED_EXIT_CODE
    if seen.memory_was_hit or (was_killed and cause.is_memory_evidence(seen.tail)):
        return OUT_OF_MEMORY, "ran out of memory"
    return FAILED, cause.likely_cause(seen.exit_code, seen.signal, seen.tail)


def _interruption(seen: Seen) -> Tuple[str, str]:
    state = f"reached {seen.resource_name or 'step'} {_text(seen.reached)}"
    if seen.end is not None:
        state += f" of {_text(seen.end)}"
    if seen.interrupted_by == BY_STOP:
        return CANCELLED, f"stopped on request; {state}"
    if seen.is_near_deadline:
        return TIMEOUT, f"the time limit of the slot came first; {state}"
    return PREEMPTED, f"the slot was told to leave; {state}"


def _text(number: Union[float, None]) -> str:
    return "0" if number is None else f"{number:.12g}"
