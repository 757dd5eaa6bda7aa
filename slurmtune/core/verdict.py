"""What was judged and why: recorded with every promotion, pause and stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from slurmtune.core.ports import Standing


class VerdictKind(Enum):
    """What became of a trial at a rung, or of a rung."""

    PROMOTED = "PROMOTED"
    RUNS_ON = "RUNS_ON"
    """It runs through its rungs, was judged at this one, and may go on."""
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    RUNG_DOUBTED = "RUNG_DOUBTED"
    """What the rung says is not worth what it costs."""
    RUNG_DROPPED = "RUNG_DROPPED"
    """The same, and no further trial is sent to the rung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One judgement, with what the scheduler saw at that moment."""

    kind: VerdictKind
    rung: int
    """The rung that was finished, or passed, or doubted."""
    trial: int | None = None
    """None for a verdict on a rung."""
    bracket: int = 0
    loss: float | None = None
    """Of the trial at the rung; None if it failed or has no finite result."""
    standing: Standing | None = None
    note: str = ""
    """Why, where no standing says it: ``stopped by the user``."""
