"""The states of a trial and of an attempt, and how an attempt can end.

Which state may follow which stands in ``transitions.py``.
"""

from __future__ import annotations

from enum import Enum


class TrialState(Enum):
    """Where a trial stands; terminal states absorb."""

    __hash__ = object.__hash__  # there is one object for each, and Enum's own runs in Python

    WAITING = "WAITING"
    """Has a config; an attempt of it is on offer or will be."""
    RUNNING = "RUNNING"
    """An attempt of it was claimed and has not ended."""
    PAUSED = "PAUSED"
    """Finished a rung below the top; may be promoted."""
    STOPPED = "STOPPED"
    """Ended below the top rung by a decision: of the scheduler, of a limit or of the user."""
    COMPLETED = "COMPLETED"
    """Finished the top rung."""
    FAILED = "FAILED"
    """Its program failed more often than ``[retry]`` allows; counts as the worst result."""

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the trial any more."""
        return self in _FINAL


_FINAL = frozenset({TrialState.STOPPED, TrialState.COMPLETED, TrialState.FAILED})


class AttemptState(Enum):
    """Where an attempt stands."""

    __hash__ = object.__hash__

    SUBMITTED = "SUBMITTED"
    """Decided; its offer may not be published yet."""
    PENDING = "PENDING"
    """Its offer is published; no slot has claimed it."""
    RUNNING = "RUNNING"
    """A slot claimed it."""
    ENDED = "ENDED"
    """It ended, with an outcome."""


class Outcome(Enum):
    """How an attempt ended."""

    __hash__ = object.__hash__

    SUCCEEDED = "SUCCEEDED"
    """The program left with exit code 0 and reported the metric."""
    FAILED = "FAILED"
    """The program failed: most likely it would fail again."""
    TIMEOUT = "TIMEOUT"
    """The time limit of the slot came first."""
    PREEMPTED = "PREEMPTED"
    """Slurm took the resources away."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    """The node's memory limit was hit (not the memory of a GPU)."""
    NODE_FAILED = "NODE_FAILED"
    """The node failed under it."""
    CANCELLED = "CANCELLED"
    """A user, a limit or the scheduler ended it, or its offer was withdrawn."""
    LOST = "LOST"
    """Its slot vanished and nobody can say why."""
