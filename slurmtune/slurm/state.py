"""Slurm's words for the state of a job: which are final, and what they mean to us.

``squeue`` and ``sacct`` print one word; ``sacct`` may add ``by 1000`` (who cancelled) and, in
narrow columns, a ``+``. Words that this file does not know stand for a job that still lives:
newer versions of Slurm add such words, and to give a living job up would run it twice.
"""

from __future__ import annotations

from enum import Enum

from slurmtune.core.trial import Outcome


class Phase(Enum):
    """How far a job has come."""

    WAITING = "WAITING"
    """Holds no resources, or its nodes are still being prepared."""
    RUNNING = "RUNNING"
    """Holds resources: runs, is suspended, or is being cleaned up."""
    ENDED = "ENDED"
    """Will not run any more."""


_WAITING = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "EXPEDITING",
        "POWER_UP_NODE",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    }
)

_OUTCOMES = {
    "COMPLETED": Outcome.SUCCEEDED,
    "FAILED": Outcome.FAILED,
    "TIMEOUT": Outcome.TIMEOUT,
    "DEADLINE": Outcome.TIMEOUT,
    "PREEMPTED": Outcome.PREEMPTED,
    "NODE_FAIL": Outcome.NODE_FAILED,
    "BOOT_FAIL": Outcome.NODE_FAILED,
    "OUT_OF_MEMORY": Outcome.OUT_OF_MEMORY,
    "CANCELLED": Outcome.CANCELLED,
    "REVOKED": Outcome.CANCELLED,
}

_OOM_SIGNAL = 125
"""Slurm's stand-in for a signal number where the out-of-memory killer struck (``0:125``)."""
_INTERRUPTED_EXIT_CODE = 85
"""Exit code of a worker that saved and left because it was told to (TERM, USR1)."""


def state_word(text: str) -> str:
    """Return the bare word: ``CANCELLED by 1000`` and ``CANCELLED+`` give ``CANCELLED``."""
    return (text.split() or [""])[0].rstrip("+").upper()


def phase(text: str) -> Phase:
    """Return how far a job in this state has come; unknown words count as running."""
    word = state_word(text)
    if word in _OUTCOMES:
        return Phase.ENDED
    return Phase.WAITING if word in _WAITING else Phase.RUNNING


def outcome(text: str, exit_code: str = "", derived_exit_code: str = "") -> Outcome | None:
    """Return how a job in this final state ended, or None when the state is not final.

    ``exit_code`` and ``derived_exit_code`` are sacct's ``code:signal``, empty when not known. They
    tell two things that the state word hides: memory that ran out in a step (``FAILED`` with a
    derived ``0:125``), and a worker that was told to leave and did (``FAILED`` with ``85:0``).
    """
    word = state_word(text)
    ended = _OUTCOMES.get(word)
    if ended is Outcome.FAILED:
        if _OOM_SIGNAL in (_parts(exit_code)[1], _parts(derived_exit_code)[1]):
            return Outcome.OUT_OF_MEMORY
        if _parts(exit_code)[0] == _INTERRUPTED_EXIT_CODE:
            return Outcome.PREEMPTED
    return ended


def _parts(text: str) -> tuple[int, int]:
    """Return exit code and signal of ``code:signal``; zeros when it says nothing."""
    code, _, signal = text.partition(":")
    return (int(code) if code.isdigit() else 0, int(signal) if signal.isdigit() else 0)
