"""The one question that tells where all slots stand, and reading its answer.

One ``squeue --me`` costs slurmctld three small messages, whatever the number of jobs: the jobs of
the user are picked out on the server. ``-a`` shows partitions that are hidden from the user,
``-r`` gives each array task a line of its own, and ``-t all`` keeps tasks that have just ended
(for Slurm's MinJobAge). Needs ``SLURM_TIME_FORMAT=%s`` in the environment.
"""

from __future__ import annotations

from dataclasses import dataclass

_FORMAT = "%F|%K|%A|%V|%T|%S|%N|%j|%r"
"""Job, index, own id, submit time, state, start, nodes, name; the reason is free text, so it is
last. Names of our own jobs hold no bar, and other jobs are not looked at."""
_FIELDS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One line of squeue: one job, or one task of an array."""

    job: str
    """Id of the job or of the whole array."""
    index: int | None
    """Index in the array; None for a job that is no array."""
    name: str
    state: str
    """Slurm's word for the state."""
    reason: str
    """Why it waits, or how it ended; empty for Slurm's ``None``."""
    submitted: float
    """When it was submitted or requeued, in seconds since 1970; 0 when not known."""
    start: float | None
    """When it started or should start; None when not known."""
    nodes: str


def command() -> list[str]:
    """Return the command that lists all jobs of the user."""
    return ["squeue", "--me", "-a", "-h", "-r", "-t", "all", "-o", _FORMAT]


def find_command(name: str) -> list[str]:
    """Return the command that lists the user's jobs of this name."""
    return ["squeue", "--me", "-a", "-h", "-r", "-t", "all", "-n", name, "-o", _FORMAT]


def parse(text: str) -> list[QueueRow]:
    """Return the rows of squeue's answer; lines that are none are left out."""
    rows: list[QueueRow] = []
    for line in text.splitlines():
        fields = line.split("|", _FIELDS - 1)
        if len(fields) < _FIELDS or not fields[0].isdigit():
            continue
        job, index, _, submitted, state, start, nodes, name, reason = fields
        if not (index.isdigit() or index == "N/A"):
            continue
        rows.append(
            QueueRow(
                job=job,
                index=int(index) if index.isdigit() else None,
                name=name,
                state=state,
                reason="" if reason == "None" else reason,
                submitted=float(submitted) if submitted.isdigit() else 0.0,
                start=float(start) if start.isdigit() else None,
                nodes=nodes,
            )
        )
    return rows
